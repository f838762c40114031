"""918 patients in words, with heart disease or without, as packaged in OpenAI evals."""

from __future__ import annotations

from lrlora.studies.tasks.evals_wheel import EvalsTask, evals_member


class HeartDisease(EvalsTask):
    """Does this patient have heart disease? Eleven measurements as text, of about 85 tokens together.

    558 patients to train on, 180 each to validate and to test. A table in disguise: it asks whether an adapter can
    read numbers and categories, and says nothing of language, nor of medicine.
    """

    data = evals_member("heart-disease")
    about = "descriptions of patients"
    held_out = 180

    @property
    def labels(self) -> tuple[str, ...]:
        """``("healthy", "heart disease")``."""
        return ("healthy", "heart disease")
