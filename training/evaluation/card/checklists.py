"""The reporting checklists that a card answers, item by item: TRIPOD+AI and CLAIM, each a file of items with the answers as templates.

What an item asks for is told in our words; the statements themselves are where the files say.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from training.evaluation.card.facts import CardFacts
from training.evaluation.table import as_markdown

FILES = ("tripod_ai.json", "claim.json")
NOT_DONE = "Not done, because"


@dataclass(frozen=True)
class Item:
    """One item: its number in the statement, what it asks for, and the answer as a Jinja template over `facts`, a CardFacts."""

    number: str
    asks: str
    answer: str


@dataclass(frozen=True)
class Checklist:
    """One statement: its title, where it is published, and all of its items in its order."""

    title: str
    source: str
    items: tuple[Item, ...]

    def answered(self, facts: CardFacts) -> list[tuple[str, str, str]]:
        """(number, what is asked for, answer) of every item. Raises UndefinedError for a fact that there is not."""
        return [(item.number, item.asks, _filled(item.answer, facts)) for item in self.items]

    def markdown(self, facts: CardFacts) -> str:
        """How many items are answered and which are not, and a table of all of them."""
        rows = self.answered(facts)
        missing = [number for number, _, answer in rows if answer.startswith(NOT_DONE)]
        says = f"{len(rows) - len(missing)} of {len(rows)} items are answered; not done: {', '.join(missing) or 'none'}."
        return f"{self.source} {says}\n\n{as_markdown(('item', 'asks for', 'answer'), rows)}"


@cache
def checklists() -> tuple[Checklist, ...]:
    """All that a card answers, in order."""
    found = []
    for name in FILES:
        content = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
        items = tuple(Item(number, asks, answer) for number, asks, answer in content["items"])
        found.append(Checklist(content["title"], content["source"], items))
    return tuple(found)


def _filled(answer: str, facts: CardFacts) -> str:
    text = Environment(undefined=StrictUndefined, autoescape=False).from_string(answer).render(facts=facts, not_done=NOT_DONE)
    return " ".join(text.split()).replace("|", "/")  # one cell of a Markdown table
