"""Stores the software version of each device, and warns when it has changed.

Built with componentize-py; see docs/components.md.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import job, log, ssh, storage
from wit_world.imports.types import Error


class Plugin(exports.Plugin):
    def describe(self) -> str:
        return json.dumps(
            {
                "summary": "Remember software versions, and say when one has changed",
                "targets": "each",
                "needs": {"ssh": {}, "storage": True},
                "on_interrupt": "retry",
                "params": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "expected": {
                            "type": "string",
                            "description": "Fail where the device runs another version",
                        }
                    },
                },
            }
        )

    def run(self, params: str) -> str:
        expected = json.loads(params).get("expected")
        target = job.target()
        device = ssh.open(target)
        version = dict(device.facts()).get("version")
        device.close()
        if version is None:
            raise Err(Error("not_found", f"{target} does not say its version", False))

        key = f"version/{target}"
        kept = storage.get(key)
        before = json.loads(kept) if kept is not None else None
        if version != before:
            storage.set(key, json.dumps(version))
        if before is not None and version != before:
            log.warn(f"{target}: {before} became {version}", None)
        if expected is not None and version != expected:
            message = f"{target} runs {version}, not {expected}"
            raise Err(Error("unexpected_version", message, False))
        return json.dumps({"version": version, "before": before})
