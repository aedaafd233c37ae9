"""The model card: what a registered version is, what it was measured on, what it must not be used for."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, StrictUndefined

NOTICE = "Research use only, not a medical device."
_TEMPLATE = """\
# {{ name }}

**{{ notice }}** Not for diagnosis, triage or any decision about a patient.

## What it answers
From one frontal chest X-ray (PNG, JPEG or DICOM) of an adult with COVID-19:
{% for task in tasks %}- {{ task.title }}: {{ task.classes | join(", ") }}
{% endfor %}
## How it was made
- Method: multi-dataset multi-task learning (Ruffini et al., MICCAI 2024): one shared backbone, one head per task, indicator-masked
  cross-entropy, started from the average of both single-task networks.
- Backbone: {{ backbone }}; recipe `{{ recipe }}` (digest {{ recipe_digest[:12] }}); code {{ commit[:12] }}.
- Served weights: a refit on all films with validation carved out by patient for early stopping and calibration.
- Films it was trained on: {% for cohort, n in films.items() %}{{ cohort }} {{ n }}{{ ", " if not loop.last }}{% endfor %}.
- Calibration: temperature scaling on the validation films, {{ calibration }}.

## Honest estimate
Of networks like this one on films of patients they had not seen, mean ± sd over folds:

| scheme | task | films | ACC | F1 | G-mean | AUC |
|---|---|---|---|---|---|---|
{% for line in lines %}| {{ line | join(" | ") }} |
{% endfor %}
## Limits
- Prognosis labels depend on the practice of the hospitals and on the time of the film; devices in the picture can give the outcome away.
- Other populations, children, lateral films, CT and photographs are outside of what it was trained on.
- A film on which no lungs are found is refused; one lung only is answered with a warning.
"""


def model_card(
    name: str, tasks: Sequence[object], recipe: str, recipe_digest: str, commit: str, backbone: str, films: Mapping[str, int],
    temperatures: Mapping[str, float], lines: Sequence[Sequence[str]],
) -> str:  # fmt: skip
    """Markdown. `lines` are rows of the honest estimate: scheme, task, films, ACC, F1, G-mean, AUC as text."""
    calibration = ", ".join(f"{task} T = {value:.2f}" for task, value in temperatures.items())
    template = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True).from_string(_TEMPLATE)
    return template.render(
        notice=NOTICE, name=name, tasks=tasks, recipe=recipe, recipe_digest=recipe_digest, commit=commit, backbone=backbone, films=films,
        calibration=calibration, lines=lines,
    )  # fmt: skip
