"""``lrlora study export --records``: the records of a study as one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path


def export_records(source: Path, file: Path) -> str:
    """Write the records of a study, and those of its tuning stage, into one file.

    Args:
        source: The folder of the study, or a file of its records.
        file: What to write.

    Returns:
        What was written, in one line.

    Raises:
        StudyError: If there is no study, no cell has ended, or the file cannot be written; one line.
    """
    from lrlora.studies.errors import StudyError
    from lrlora.studies.execution.tuning import FOLDER
    from lrlora.studies.record.archive import Archive
    from lrlora.studies.record.results import Results, read_study_file

    if source.is_file():
        archive = Archive.read(source)
    else:
        stages = [Results.load(source)]
        if read_study_file(source / FOLDER) is not None:
            stages.append(Results.load(source / FOLDER))
        records = [record for stage in stages for record in stage.records]
        examples = {run: arrays for stage in stages for run, arrays in stage.examples.items()}
        saved = read_study_file(source) or {}
        if (sequential := stages[0].sequential) is not None:
            saved["sequential"] = asdict(sequential)
        archive = Archive.of(saved, records, examples)
    if not archive.records:
        raise StudyError(f"{source}: no cell has ended yet; go on with: lrlora study run")
    archive.write(file)
    size = file.stat().st_size
    return f"{file}: {len(archive.records)} records, {len(archive.examples)} with test examples, {size / 1e3:.0f} kB"
