"""A real SMTP server that puts mails into a maildir: port, directory, and with two files more (a
certificate and its key) one that wants STARTTLS and a login. Ends with its standard input."""

import logging
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import AuthResult

# Clients that turn away are what is tested here.
logging.disable(logging.CRITICAL)

port, directory, certificate = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


class Handler(Mailbox):
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    known = (data.login, data.password) == (b"jobs", b"pa ss")
    # Not handled: the server says no itself.
    return AuthResult(success=known, handled=False)


options = {}
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    options = {
        "tls_context": context,
        "require_starttls": True,
        "authenticator": authenticate,
        "auth_required": True,
    }

controller = Controller(Handler(directory), hostname="127.0.0.1", port=port, **options)
controller.start()
print("ready", flush=True)
sys.stdin.read()
controller.stop()
