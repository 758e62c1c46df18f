# Starts one FakeNOS device per platform. Prints each device as a line of JSON, and an empty line when
# all of them listen. Ends when its standard input is closed.

import json
import logging
import os
import socket
import sys
import time

import yaml

# The data has thirty thousand lines, and the loader in C is ten times as fast.
if hasattr(yaml, "CSafeLoader"):
    yaml.safe_load = lambda text: yaml.load(text, Loader=yaml.CSafeLoader)

from fakenos import FakeNOS
from fakenos.core.nos import available_platforms

logging.disable(logging.CRITICAL)


def reserve():
    """Reserves a free port. The device, of the same user, may listen on it as well."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def is_listening(host):
    return host.server._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def outputs(host):
    """Returns the outputs of commands for the first prompt, if they are always the same."""
    first = host.nos.initial_prompt
    found = {}
    for command, data in host.nos.commands.items():
        output = data.get("output")
        prompts = data.get("prompt") or first
        prompts = [prompts] if isinstance(prompts, str) else prompts
        fixed = isinstance(output, str) and "new_prompt" not in data
        if fixed and first in prompts and not command.startswith("_"):
            text = output.replace("{base_prompt}", host.name)
            found[command] = "\n".join(text.splitlines())
    return found


reserved = {platform: reserve() for platform in available_platforms}
net = FakeNOS(
    inventory={
        "hosts": {
            platform: {"port": port.getsockname()[1], "platform": platform}
            for platform, port in reserved.items()
        }
    }
)
net.start()
for platform, host in net.hosts.items():
    while not is_listening(host):
        time.sleep(0.001)
    line = {
        "platform": platform,
        "port": host.port,
        "username": host.username,
        "password": host.password,
        "prompt": host.nos.initial_prompt.format(base_prompt=host.name),
        "outputs": outputs(host),
    }
    print(json.dumps(line), flush=True)
print(flush=True)

sys.stdin.read()
os._exit(0)
