"""What people do who run ablations on their own data, and the tests of it.

An edited plugin and one more seed, the same command:
    tests/e2e/test_changed_content.py::test_changed_code_and_data_run_again_and_never_mix
    tests/unit/studies/test_identity.py::test_an_edited_plugin_makes_other_cells_and_says_what_was_edited
A replaced data file, its modification time kept, the same command:
    tests/e2e/test_changed_content.py::test_changed_code_and_data_run_again_and_never_mix
    tests/unit/studies/test_identity.py::test_replaced_data_make_other_cells_whatever_their_times_say
lrlora tune in one folder, then on another task and backbone:
    tests/cases/test_study_files.py::test_a_search_on_another_task_or_backbone_needs_a_folder_of_its_own
Other classes in the test split than in training:
    tests/cases/test_study_user_files.py::test_a_class_that_training_never_has_is_refused
Classes 01 and 1, 1.10 and 1.1, 1e2 and 100:
    tests/cases/test_study_user_files.py::test_classes_are_text_as_written
    tests/cases/test_study_user_files.py::test_numbers_of_json_are_classes_as_written
An unquoted comma in every row:
    tests/cases/test_study_user_files.py::test_what_a_file_should_not_hold_is_said_with_its_place
A class None, a text NA:
    tests/cases/test_study_user_files.py::test_classes_are_text_as_written
    tests/cases/test_study_user_files.py::test_what_looks_like_a_missing_text_is_a_text
Ctrl-C and kill -9 within the first seconds:
    tests/unit/execution/test_surroundings.py::test_ctrl_c_before_the_first_cell_leaves_a_folder_that_goes_on
    tests/unit/execution/test_driver.py::test_a_command_that_is_killed_in_its_first_seconds_goes_on
Duplicate keys in YAML:
    tests/cases/test_study_files.py::test_what_a_study_file_should_not_hold_is_said_with_its_place
Two study files of one name in one folder:
    tests/cases/test_study_files.py::test_a_second_file_of_one_name_does_not_push_out_the_first_ones_variants
Terminals without the characters:
    tests/cases/test_study_surroundings.py::test_a_terminal_without_the_characters_gets_question_marks
Folders called a?b, 50%25 and {b}:
    tests/unit/studies/test_record.py::test_a_folder_of_any_name_holds_all_that_is_written
    tests/e2e/test_changed_content.py::test_changed_code_and_data_run_again_and_never_mix
ACCELERATE_MIXED_PRECISION in the shell:
    tests/integration/test_training_settings.py::test_the_environment_of_a_launcher_changes_no_number
    tests/unit/studies/test_identity.py::test_the_training_code_is_a_part_and_the_shell_is_none
MLflow's store of another version, corrupt, deleted or empty:
    tests/unit/studies/test_record.py::test_a_damaged_store_is_said_in_one_line_and_nothing_is_made
Optuna's store of another version, corrupt, deleted or empty:
    tests/unit/execution/test_surroundings.py::test_an_optuna_store_that_cannot_be_used_is_one_line_and_stays_as_it_is
    tests/unit/execution/test_surroundings.py::test_an_optuna_store_that_is_gone_is_made_again_of_the_record_and_nothing_is_trained
A full disk, a read-only folder, no TMPDIR:
    tests/cases/test_study_surroundings.py::test_what_disks_do_is_one_line_however_libraries_wrap_it
    tests/unit/training/test_checkpoint.py::test_a_full_disk_stops_no_run
A parameter of 10,631 characters:
    tests/unit/studies/test_record.py::test_a_long_parameter_is_shortened_and_whole_in_the_record
10 of 10 seeds diverged, +0.10 in 5 of 5:
    tests/unit/stats/test_verdicts.py::test_that_all_runs_diverge_is_decided_if_they_are_not_few
    tests/unit/stats/test_verdicts.py::test_one_difference_in_every_seed_is_decided
A budget that changes a step of the tuning:
    tests/cases/test_study_files.py::test_a_budget_changes_the_tuning_key_by_key
Several visible GPUs:
    tests/integration/test_training_settings.py::test_several_devices_do_not_multiply_the_batch
    tests/unit/execution/test_resources.py::test_gpus_are_shared_out
A relative claim on a negative reference, or on one of zero:
    tests/cases/test_study_files.py::test_a_relative_claim_keeps_its_sign_where_the_reference_is_negative
    tests/cases/test_study_files.py::test_a_relative_claim_on_a_partner_of_zero_is_said_and_not_tested
kill -9 and SIGTERM within a cell:
    tests/unit/execution/test_driver.py::test_a_driver_that_is_killed_anywhere_goes_on_and_its_workers_end
    tests/integration/test_resume.py::test_a_killed_run_ends_as_one_that_was_left_alone
Three processes at one fresh folder:
    tests/unit/execution/test_surroundings.py::test_of_three_processes_at_one_fresh_folder_one_runs_and_the_others_get_one_line
A store that is locked for 12 seconds:
    tests/unit/execution/test_surroundings.py::test_stores_that_another_process_locks_for_12_seconds_are_waited_for
MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and MLFLOW_RUN_ID of the shell:
    tests/unit/execution/test_surroundings.py::test_the_stores_of_the_users_shell_are_left_alone
A moved folder:
    tests/e2e/test_smoke_study.py::test_a_study_that_was_moved_is_reported_and_not_run_on
    tests/unit/studies/test_record.py::test_a_folder_of_any_name_holds_all_that_is_written
Learning rates of 1e3 to 1e35:
    tests/integration/test_wild_learning_rates.py::test_a_wild_learning_rate_is_an_outcome
Names with emoji, quotes, markup, newlines and 1,200 characters:
    tests/unit/execution/test_surroundings.py::test_variants_of_any_name_are_run_recorded_and_reported
n = 1 and zero variance:
    tests/unit/stats/test_paired.py::test_one_pair_has_a_mean_and_nothing_else
    tests/unit/stats/test_paired.py::test_pairs_that_are_equal_are_not_tested
    tests/unit/stats/test_paired.py::test_one_difference_in_every_pair_is_significant_from_four_pairs_on
BOM, CRLF, lines of 30 MB, unicode paths:
    tests/cases/test_study_user_files.py::test_line_ends_marks_and_empty_lines_change_nothing
    tests/cases/test_study_user_files.py::test_a_field_may_hold_quotes_line_ends_and_30_megabytes
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS: dict[str, list[str]] = {}
for _line in (__doc__ or "").splitlines()[2:]:
    if _line.startswith("    "):
        ROWS[next(reversed(ROWS))].append(_line.strip())
    else:
        ROWS[_line.removesuffix(":")] = []


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_tests_that_exist(row: str) -> None:
    assert ROWS[row]
    for place in ROWS[row]:
        path, _, name = place.partition("::")
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place
