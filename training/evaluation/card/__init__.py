"""The model card: what a registered version is, what it was measured on and in whom, and what it must not be used for."""

from training.evaluation.card.facts import NOTICE, CardFacts, CohortFacts
from training.evaluation.card.judged import Judged
from training.evaluation.card.writing import model_card

__all__ = ["NOTICE", "CardFacts", "CohortFacts", "Judged", "model_card"]
