"""link-cut: the control of `link`. The films and the Brixia scores are equal; the outcome is drawn without looking at them.

Source    `mdmt phantom --folder state/link-cut-phantom --prognosis 100 --severity 480 --loading 0.95 --link 0`
Command   make link
Cost      as `link`; the networks of severity alone are those of `link`, found by fingerprint
Expected  nobody can do better than guessing the more frequent outcome, and MDMT does not beat STL τ1
"""

from training.protocol.recipe import Recipe
from training.protocol.recipes import link


def recipe() -> Recipe:
    return link.recipe().model_copy(
        update={
            "name": "link-cut",
            "description": "severity has nothing to do with the outcome: what `link` finds must vanish",
            "data": ("state/link-cut-phantom",),
        }
    )
