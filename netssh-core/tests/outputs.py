"""Generates outputs for TextFSM templates and parses them with Python's textfsm.

Arguments: a directory of templates, a seed, the number of outputs per template.
Prints a line of JSON for each output: the template's file, the output, and the records, or null
if textfsm rejects the output.

An output consists of lines that the template's own rules match: random strings of their regular
expressions with a few changed characters, so that rules, states and the values' options occur in
many orders.
"""

import json
import pathlib
import random
import re
import signal
import sys

import textfsm

from re import _constants as sre
from re import _parser as parser

CATEGORIES = {
    sre.CATEGORY_DIGIT: "0123456789",
    sre.CATEGORY_NOT_DIGIT: "aZ -./:_",
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_NOT_SPACE: "abcXYZ019-./:_(),é中",
    sre.CATEGORY_WORD: "abcXYZ019_é",
    sre.CATEGORY_NOT_WORD: " -./:(),",
}
ANY = "abcXYZ019 -./:_(),[]{}%é中"


class Strings:
    """Random strings of a regular expression; look-around is approximated."""

    def __init__(self, chance):
        self.chance = chance
        self.groups = {}

    def of(self, pattern):
        self.groups = {}
        return self.sequence(parser.parse(pattern))

    def sequence(self, items):
        return "".join(self.item(op, argument) for op, argument in items)

    def item(self, op, argument):
        if op is sre.LITERAL:
            return chr(argument)
        if op is sre.NOT_LITERAL:
            return self.chance.choice([c for c in ANY if ord(c) != argument])
        if op is sre.ANY:
            return self.chance.choice(ANY)
        if op is sre.IN:
            return self.member(argument)
        if op is sre.BRANCH:
            return self.sequence(self.chance.choice(argument[1]))
        if op is sre.SUBPATTERN:
            text = self.sequence(argument[3])
            self.groups[argument[0]] = text
            return text
        if op is sre.ATOMIC_GROUP:
            return self.sequence(argument)
        if op is sre.GROUPREF:
            return self.groups.get(argument, "")
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            least, most, inner = argument
            most = min(most, least + 3)
            return "".join(self.sequence(inner) for _ in range(self.chance.randint(least, most)))
        if op is sre.ASSERT and argument[0] > 0:
            # Look-ahead text follows, or satisfies the look-ahead itself.
            return self.sequence(argument[1])
        return ""

    def member(self, items):
        if items[0][0] is sre.NEGATE:
            excluded = re.compile("[%s]" % "".join(self.written(item) for item in items[1:]))
            allowed = [c for c in ANY if not excluded.match(c)]
            return self.chance.choice(allowed) if allowed else "~"
        op, argument = self.chance.choice(items)
        if op is sre.LITERAL:
            return chr(argument)
        if op is sre.RANGE:
            return chr(self.chance.randint(*argument))
        return self.chance.choice(CATEGORIES[argument])

    @staticmethod
    def written(item):
        op, argument = item
        if op is sre.LITERAL:
            return re.escape(chr(argument))
        if op is sre.RANGE:
            return "%s-%s" % tuple(re.escape(chr(end)) for end in argument)
        return {
            sre.CATEGORY_DIGIT: r"\d",
            sre.CATEGORY_NOT_DIGIT: r"\D",
            sre.CATEGORY_SPACE: r"\s",
            sre.CATEGORY_NOT_SPACE: r"\S",
            sre.CATEGORY_WORD: r"\w",
            sre.CATEGORY_NOT_WORD: r"\W",
        }[argument]


def changed(chance, line):
    """A line with one character dropped, doubled or replaced."""
    if not line:
        return line
    at = chance.randrange(len(line))
    return line[:at] + chance.choice(["", line[at] * 2, " ", "x", "7"]) + line[at + 1 :]


def output(chance, fsm):
    """Walks through the states like a conforming device, with some errors."""
    strings = Strings(chance)
    lines = []
    state = "Start"
    for _ in range(chance.randint(1, 40)):
        rules = [rule for rule in fsm.states.get(state, []) if rule.line_op != "Error"]
        if not rules:
            rules = [rule for rules in fsm.states.values() for rule in rules]
            if not rules:
                break
        rule = chance.choice(rules)
        line = strings.of(rule.regex)
        if chance.random() < 0.1:
            line = changed(chance, line)
        lines.append(line)
        if rule.new_state and rule.new_state in fsm.states and rule.regex_obj.match(line):
            state = rule.new_state
    return chance.choice(["\n", "\r\n"]).join(lines) + chance.choice(["", "\n"])


class TooSlow(Exception):
    """Python's regular expressions backtrack without a limit; such an output is skipped."""


def too_slow(_signal, _frame):
    raise TooSlow


def main():
    signal.signal(signal.SIGALRM, too_slow)
    directory, seed, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for file in sorted(directory.glob("*.textfsm")):
        with file.open() as template:
            fsm = textfsm.TextFSM(template)
        chance = random.Random(f"{seed} {file.name}")
        for _ in range(count):
            fsm.Reset()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                text = output(chance, fsm)
                rows = [list(row) for row in fsm.ParseText(text)]
            except textfsm.TextFSMError:
                rows = None
            except TooSlow:
                continue
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            names = [name.lower() for name in fsm.header]
            records = rows and [dict(zip(names, row)) for row in rows]
            records = [] if rows == [] else records
            print(json.dumps({"template": str(file), "output": text, "records": records}))


main()
