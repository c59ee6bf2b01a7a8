"""Bugs that are put into nettool on purpose: each one a test of the battery must catch.

A mutant replaces one piece of text in one file. `caught_by` is what pytest is given: the part of the
battery that has to fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Mutant:
    """One seeded bug."""

    name: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]


FAULTS: Final = "tests/test_battery_faults.py"
STORAGE: Final = "tests/test_battery_storage.py"
CROWD: Final = "tests/test_battery_crowd.py"
IDENTITY: Final = "tests/test_battery_identity.py"
RECORDS: Final = "tests/test_records.py"
CONFIRM: Final = "tests/test_battery_confirm.py"

MUTANTS: Final = (
    Mutant(
        "undo in the order of doing", "plan.py",
        "for step in reversed(tuple(steps))\n", "for step in tuple(steps)\n",
        (FAULTS, "-k", "default_route_comes_back"),
    ),
    Mutant(
        "what was there before is made, and undone, too", "plan.py",
        "d.step for d in self.decisions if d.status is Status.TODO)", "d.step for d in self.decisions)",
        (FAULTS, "-k", "command_that_fails and second"),
    ),
    Mutant(
        "the intent is written after the command", "apply.py",
        "        transaction.journal.intend(places)\n        transaction.ran = True\n"
        "        transaction.started += places\n        _execute(steps, places, transaction)\n",
        "        transaction.ran = True\n        transaction.started += places\n"
        "        _execute(steps, places, transaction)\n        transaction.journal.intend(places)\n",
        (FAULTS, "-k", "killed_run"),
    ),
    Mutant(
        "commands do not inherit the lock", "apply.py",
        "held = transaction.locks.descriptors", "held = ()",
        (CROWD, "-k", "lock_that_a_command_holds"),
    ),
    Mutant(
        "nothing is verified", "apply.py",
        "    if wrong:\n", "    if wrong and False:\n",
        (FAULTS, "-k", "only_says"),
    ),
    Mutant(
        "every run is finished forward", "journal.py",
        'in ("verified", "undo")] == ["verified"]', 'in ("verified", "undo")] != ["undo"]',
        (FAULTS, "-k", "killed_run"),
    ),
    Mutant(
        "signals are not noted", "apply.py",
        "        transaction.signal = number\n", "        raise KeyboardInterrupt\n",
        (FAULTS, "-k", "signal_leaves"),
    ),
    Mutant(
        "a rollback stops at the first undo", "rollback.py",
        "            elif reached < len(self._steps):\n", "            elif reached < 1:\n",
        (FAULTS, "-k", "command_that_fails"),
    ),
    Mutant(
        "what has gone with its sandbox is made again", "rollback.py",
        "if needs_sandbox(step)}\n", "if False}\n",
        (FAULTS, "-k", "stopped_detachment"),
    ),
    Mutant(
        "whether the sandbox has gone is asked once", "rollback.py",
        "        if self._gone or not", "        if self._gone or any(self._tries) or not",
        (FAULTS, "-k", "moment_of_the_way_back"),
    ),
    Mutant(
        "what was made again for a sandbox that has gone since stays", "rollback.py",
        "in sorted(self._dropped) if self._tries[n])", "in ())",
        (FAULTS, "-k", "moment_of_the_way_back"),
    ),
    Mutant(
        "records are not put back", "apply.py",
        "unwritten = put_back_records(plan.changes, plan.networks) if transaction.recorded else []",
        "unwritten: list[str] = []",
        (RECORDS, "-k", "after_all"),
    ),
    Mutant(
        "who is in the sandbox is not looked at", "apply.py",
        "for sandbox in plan.sandboxes:\n        if sandbox.pid",
        "for sandbox in ():\n        if sandbox.pid",
        (IDENTITY, "-k", "nothing_more_is_done"),
    ),
    Mutant(
        "no space is taken beforehand", "journal.py",
        "        os.posix_fallocate(", "        () or (lambda *_: None)(",
        (STORAGE, "-k", "fills_up"),
    ),
    Mutant(
        "a line that cannot be written stops the way back", "journal.py",
        '        with contextlib.suppress(OSError):\n            self._write({"kind": "undo"',
        '        with contextlib.suppress(KeyError):\n            self._write({"kind": "undo"',
        (STORAGE,),
    ),
    Mutant(
        "a journal of another boot is believed", "recovery.py",
        "if run is None or run.boot_id != boot:", "if run is None:",
        (STORAGE, "-k", "another_boot"),
    ),
    Mutant(
        "checksums are not looked at", "journal.py",
        'if not text or f"{zlib.crc32(text):08x}".encode() != checksum:', "if not text:",
        (FAULTS, "-k", "killed_run"),
    ),
    Mutant(
        "the host's lock is not taken", "pipeline.py",
        "    prepare()\n    locks.acquire((HOST,))\n", "    prepare()\n    del HOST\n",
        (CROWD,),
    ),
    Mutant(
        "what somebody else has made meanwhile is undone", "apply.py",
        'at if "File exists" in result.stderr else at + 1', "at + 1",
        (FAULTS, "-k", "in_the_place_of_a_step"),
    ),
    Mutant(
        "the timer is armed, and not written down", "apply.py",
        "        journal.armed(timer)\n", "        del timer\n        timer = None  # type: ignore\n",
        (CONFIRM, "-k", "without_a_word"),
    ),
    Mutant(
        "the script undoes what has not begun", "templates/rollback.sh.j2",
        '    case $begun in *" $1 "*) ;; *) return 1 ;; esac\n', "",
        (CONFIRM, "-k", "had_not_begun"),
    ),
    Mutant(
        "confirming does not stop the timer", "confirmation.py",
        "            os.killpg(timer.pid, signal.SIGKILL)", "            pass",
        (CONFIRM, "-k", "word_in_time"),
    ),
)  # fmt: skip
