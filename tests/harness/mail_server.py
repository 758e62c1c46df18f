"""A real SMTP server that stores mails in a maildir.

Arguments: the port, the directory, and optionally a certificate and its key, with which it
requires STARTTLS and a login. Ends with its standard input.
"""

import logging
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import AuthResult

# Tests provoke errors of clients, which would fill the log.
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
    # Not handled: the server sends the refusal itself.
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
