"""The promises of reliability, each with the tests that keep it: the source of docs/reliability.md."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"


class Promise(NamedTuple):
    """A sentence that users may rely on, its limit ("" where it is yes or no), and FILE::FUNCTION of its tests."""

    text: str
    figure: str
    tests: tuple[str, ...]


def promise(text: str, *tests: str, figure: str = "") -> Promise:
    """A row of the table."""
    return Promise(text, figure, tests)


ARRAYS, MODEL, FIT = "data/test_arrays.py", "model/test_sequential.py", "training/test_fit.py"
ENGINE, CHECKPOINT, RESUME = "engine/test_robustness.py", "storage/test_checkpoint.py", "training/test_resume.py"
CACHE, ACCURACY, LIMITS = "kernels/test_cache.py", "engine/test_accuracy.py", "reliability/test_limits.py"
CONTAINER, WRITING = "storage/test_container.py", "util/test_atomic_write.py"

INPUTS = (
    promise(
        "NaN and infinities anywhere in X or y are refused; the message has the row and the column",
        f"{ARRAYS}::test_non_finite_element_is_found_anywhere",
        f"{ARRAYS}::test_bad_targets_error_gives_value_and_remedy",
    ),
    promise(
        "y or weights of another length than X are refused",
        f"{ARRAYS}::test_bad_targets_error_gives_value_and_remedy",
        f"{ARRAYS}::test_bad_sample_weights_error_gives_value",
    ),
    promise(
        "X of one or three dimensions, scalars, empty and ragged lists are refused",
        f"{ARRAYS}::test_bad_X_error_gives_value_and_remedy",
    ),
    promise(
        "Strings, complex numbers and None are refused",
        f"{ARRAYS}::test_bad_X_error_gives_value_and_remedy",
        "data/test_frames.py::test_non_numeric_data_error_gives_place_and_remedy",
    ),
    promise(
        "A call that is refused has changed nothing",
        f"{MODEL}::test_refused_fit_changes_nothing",
        f"{MODEL}::test_refused_calls_change_nothing",
    ),
    promise(
        "A refusal comes at once, after one pass over the data at most, and takes no memory",
        f"{LIMITS}::test_refusing_data_takes_one_pass",
        f"{ARRAYS}::test_check_for_finite_numbers_needs_little_memory",
        figure="100 ms and one pass",
    ),
    promise(
        "Memory-mapped and chunked data are checked as their batches are read",
        "data/test_streams.py::test_bad_chunk_is_named_and_the_last_step_kept",
        "data/test_streams.py::test_bad_first_chunk_changes_nothing",
        f"{MODEL}::test_read_only_memory_mapped_X_trains",
    ),
    promise("No rows are refused", f"{MODEL}::test_empty_data_is_refused"),
    promise("One row and one column train", f"{LIMITS}::test_one_row_and_one_column_train"),
    promise(
        "Labels out of range, negative or fractional are refused; rows of fractions are probabilities",
        f"{ARRAYS}::test_bad_targets_error_gives_value_and_remedy",
        f"{MODEL}::test_soft_labels_have_the_weighted_mean_loss_of_their_labels",
    ),
    promise(
        "A single class is learned, by the classifier as in scikit-learn and by the model",
        "estimators/test_extras.py::test_single_class_is_learned_as_in_scikit_learn",
    ),
    promise(
        "Every number type gives the bits of a converted copy: float16 to float64, integers of any width, booleans",
        f"{ARRAYS}::test_every_form_of_X_equals_a_contiguous_copy",
    ),
    promise(
        "Every memory layout gives the bits of a contiguous copy: C, Fortran, strided, reversed, broadcast, "
        "misaligned, big-endian, read-only",
        f"{ARRAYS}::test_every_form_of_X_equals_a_contiguous_copy",
        f"{ARRAYS}::test_broadcast_rows_are_expanded",
        f"{MODEL}::test_layout_of_X_does_not_change_results",
    ),
    promise(
        "Data frames and tensors give the bits of arrays",
        "data/test_frames.py::test_every_form_trains_to_the_same_bits_as_arrays",
    ),
    promise(
        "Batch sizes of zero, below zero or fractional are refused",
        f"{MODEL}::test_refused_fit_changes_nothing",
    ),
    promise(
        "A batch size above the number of rows is clipped, with a warning if it was given",
        f"{FIT}::test_batch_size_above_the_number_of_rows_is_clipped",
    ),
    promise(
        "The last batch may have any size from one row",
        f"{LIMITS}::test_last_batch_may_have_any_size",
        "engine/test_bits.py::test_prediction_of_a_row_does_not_depend_on_its_batch",
    ),
    promise(
        "Learning rates below zero, NaN or infinite are refused; zero is allowed",
        "optimizers/test_optimizers.py::test_invalid_arguments_are_refused",
        f"{LIMITS}::test_zero_learning_rate_changes_no_weight",
    ),
    promise(
        "Momentum 1 and dropout 1 are refused",
        "optimizers/test_optimizers.py::test_invalid_arguments_are_refused",
        "layers/test_layers.py::test_invalid_layers_are_refused",
    ),
    promise(
        "An unknown name is refused with the valid ones",
        "optimizers/test_optimizers.py::test_invalid_arguments_are_refused",
        f"{MODEL}::test_invalid_networks_are_refused",
    ),
    promise(
        "Layers of every width work",
        f"{ACCURACY}::test_predictions_are_within_the_bound_at_every_width_and_batch_size",
        f"{ACCURACY}::test_gradients_are_within_the_bound_at_every_width_and_batch_size",
        f"{ACCURACY}::test_wide_layers_are_within_the_bound",
        f"{LIMITS}::test_widths_near_4096_train",
        figure="1 to 70, 127 to 129, 4,095 to 4,097 units",
    ),
    promise(
        "Networks without a hidden layer and of 200 layers train",
        f"{LIMITS}::test_network_without_hidden_layer_trains",
        "model/test_deep.py::test_200_layers_learn_with_residual_blocks_and_normalization",
        figure="0 and 200 hidden layers",
    ),
    promise("A million input features train", f"{LIMITS}::test_a_million_features_train", figure="10⁶ features"),
    promise("Arrays past 2³¹ bytes are used whole", f"{LIMITS}::test_array_larger_than_2_31_bytes", figure="2.2 GB"),
)

NUMERICS = (
    promise(
        "A step whose loss is not finite is dropped whole",
        f"{ENGINE}::test_step_with_non_finite_loss_is_dropped_entirely",
        "engine/test_bits.py::test_any_number_of_workers_drops_the_same_step",
    ),
    promise(
        "An update stores only finite weights and states",
        f"{ENGINE}::test_elements_whose_update_would_overflow_are_kept",
        f"{ENGINE}::test_excessive_decay_leaves_weights_finite",
        "isa/test_optimizers.py::test_nan_gradient_changes_no_bits_of_other_weights",
    ),
    promise(
        "`fit` stops with a `DivergenceWarning` that names the step and the layer, with finite weights",
        f"{FIT}::test_divergence_stops_with_a_warning_and_finite_weights",
        f"{FIT}::test_divergence_names_the_layer",
        f"{ENGINE}::test_report_names_the_diverging_layer",
    ),
    promise(
        "The estimators report divergence as scikit-learn does",
        "estimators/test_extras.py::test_divergence_is_reported_as_in_scikit_learn",
    ),
    promise(
        "Logits of ±10⁴ and probabilities of 0 and 1 give finite losses and gradients; denormals cost nothing",
        "losses/test_losses.py::test_extreme_outputs_give_finite_losses_and_gradients",
        "isa/test_losses.py::test_losses_of_extreme_outputs_match_the_reference",
        f"{ENGINE}::test_denormals_are_flushed",
    ),
    promise(
        "Every gradient is that of central differences in float64",
        f"{ACCURACY}::test_gradients_match_central_differences",
        "losses/test_losses.py::test_gradients_match_central_differences",
        "reference/test_network.py::test_gradients_match_central_differences",
        "layers/test_embedding.py::test_reference_gradients_match_central_differences",
    ),
    promise(
        "Every optimizer follows its reference and PyTorch",
        "optimizers/test_rules.py::test_1000_steps_of_both_engines_match_pytorch",
        "optimizers/test_rules.py::test_1000_steps_in_float32_match_float64",
        "optimizers/test_rules.py::test_1000_steps_of_whole_array_rules_match_the_published_rules",
        figure="1,000 steps",
    ),
)

THREADS = (
    promise(
        "Products of bfloat16 have the same bits for any number of workers, in AMX's tiles and in AVX-512's lines, "
        "among signals and other threads, and in forked children",
        "engine/test_bfloat16.py::test_two_workers_are_bit_identical_to_one",
        "engine/test_bfloat16.py::test_amx_and_avx512_are_bit_identical",
        "engine/test_tiles.py::test_signals_and_other_threads_change_no_bits",
        "engine/test_tiles.py::test_forked_child_is_bit_identical",
    ),
    promise(
        "A library beside fastbp that uses AMX keeps its results; where the system denies tiles, products are float32, "
        "with one warning",
        "engine/test_tiles.py::test_previous_tile_configuration_is_restored",
        "engine/test_tiles.py::test_alternating_with_torch_a_thousand_times_changes_no_results",
        "engine/test_tiles.py::test_denied_tiles_fall_back_to_float32_with_one_warning",
    ),
    promise(
        "Many Python threads may fit models at once; each gets the bits it would get alone",
        f"{ENGINE}::test_engines_train_concurrently_in_2_and_8_threads",
        f"{FIT}::test_concurrent_fits_equal_serial_fits",
        f"{LIMITS}::test_32_threads_fit_concurrently",
        figure="2, 8 and 32 threads",
    ),
    promise(
        "Threads that train, compile or change one model or estimator take turns; none waits for ever",
        "util/test_turns.py::test_fits_of_one_model_run_one_after_another",
        "util/test_turns.py::test_calls_during_a_fit",
        "util/test_turns.py::test_threads_that_train_one_estimator_take_turns",
        "util/test_turns.py::test_deadlock_of_two_fits_raises",
        "util/test_turns.py::test_ctrl_c_interrupts_waiting",
        figure="2, 8 and 32 threads",
    ),
    promise(
        "Predictions from many threads, also while the model trains",
        f"{ENGINE}::test_predictions_from_eight_threads_while_another_trains",
        f"{MODEL}::test_many_threads_may_predict_with_an_unbuilt_model",
        figure="8 threads",
    ),
    promise(
        "Processes and threads may race for the first compilation",
        f"{CACHE}::test_processes_racing_for_one_entry_all_succeed",
        f"{CACHE}::test_processes_compiling_the_engine_at_once_all_succeed",
        f"{LIMITS}::test_eight_threads_race_for_the_first_compilation",
        figure="8 threads, 10 processes",
    ),
    promise(
        "More workers than cores slow training down, never stop it",
        f"{ENGINE}::test_16_workers_on_fewer_cores_are_at_most_three_times_slower_than_2",
        f"{ENGINE}::test_threads_beyond_the_numba_limit_are_capped_with_a_warning",
        figure="at most 3 times",
    ),
    promise(
        "A process may fork before, during and after a fit; the child trains to the same bits",
        f"{ENGINE}::test_forked_child_trains_on_one_thread_with_identical_bits",
        "data/test_streams.py::test_process_forked_during_fit_trains_on_streams",
        "util/test_turns.py::test_process_forked_during_a_fit_has_a_consistent_model",
        "util/test_turns.py::test_process_forked_during_compilation_can_compile",
    ),
    promise(
        "Where the system gives no threads, one worker trains, with a warning; a source is read without a thread",
        "engine/test_thread_limits.py::test_one_worker_trains_if_the_system_refuses_threads",
        "data/test_streams.py::test_chunks_are_read_on_demand_without_a_thread",
        "data/test_streams.py::test_thread_out_of_memory_ends_the_fit",
    ),
    promise(
        "multiprocessing (fork, forkserver, spawn) and joblib (loky, threading) work",
        f"{LIMITS}::test_every_process_start_method",
        "estimators/test_tools.py::test_grid_search_in_processes",
        "estimators/test_tools.py::test_workers_share_the_cores",
    ),
    promise("No thread outlives the fit that started it", f"{LIMITS}::test_threads_end_with_the_fit"),
    promise(
        "Ctrl-C raises KeyboardInterrupt soon, always with the weights of a finished step",
        f"{FIT}::test_ctrl_c_at_any_time_leaves_the_weights_of_a_finished_step",
        f"{FIT}::test_ctrl_c_right_after_the_engine_returns_counts_its_steps",
        f"{FIT}::test_fit_regains_control_every_tenth_of_a_second",
        figure="200 ms or one step",
    ),
    promise(
        "Ctrl-C during the first compilation ends it; the next process compiles again",
        f"{LIMITS}::test_ctrl_c_during_the_first_compilation",
        "reliability/test_compiling.py::test_ctrl_c_at_every_moment_of_a_first_fit",
        "kernels/test_interrupts.py::test_ctrl_c_in_a_callback_of_llvm_is_not_lost",
    ),
)

FILES = (
    promise(
        "Saving replaces the old file in one step, synced to the disk",
        f"{CHECKPOINT}::test_saving_leaves_one_file_and_follows_links",
        f"{CHECKPOINT}::test_file_and_then_its_folder_are_synced",
        f"{CHECKPOINT}::test_failed_save_leaves_only_the_old_file",
    ),
    promise(
        "kill -9 at any moment leaves the old file or the new one, whole",
        f"{CHECKPOINT}::test_kill_at_any_moment_leaves_a_complete_file",
        f"{RESUME}::test_kill_at_random_moments",
    ),
    promise(
        "A full disk leaves the old file",
        f"{CHECKPOINT}::test_full_disk_leaves_the_old_file",
        f"{RESUME}::test_full_disk_leaves_the_last_good_file",
        f"{RESUME}::test_disk_full_during_a_write_leaves_the_last_good_file",
    ),
    promise(
        "Truncated, damaged and hostile files are refused with fastbp's own error",
        f"{CHECKPOINT}::test_every_truncation_is_detected",
        f"{CHECKPOINT}::test_forged_headers_are_rejected",
        f"{CHECKPOINT}::test_forged_tensors_are_rejected",
        f"{CHECKPOINT}::test_forged_descriptions_are_rejected",
        f"{RESUME}::test_forged_fits_are_refused",
    ),
    promise(
        "They are refused quickly and in little memory",
        f"{CHECKPOINT}::test_wrong_header_lengths_are_rejected",
        f"{CHECKPOINT}::test_other_files_are_rejected",
        f"{CHECKPOINT}::test_other_files_are_refused_within_a_second",
        f"{CHECKPOINT}::test_saving_and_loading_need_little_memory",
        figure="1 s, longer only for tensors by the 10,000; twice the file's memory",
    ),
    promise(
        "A SHA-256 of header and tensors finds every flipped bit; a file of another writer loads with a warning",
        f"{CHECKPOINT}::test_every_flipped_bit_is_detected",
        f"{CHECKPOINT}::test_file_without_digest_loads_with_a_warning",
    ),
    promise(
        "30,000 damaged files, in all formats that are read, load as they were or are refused by name",
        "reliability/test_damaged_files.py::test_damaged_files_load_unchanged_or_are_refused",
        "reliability/test_damaged_files.py::test_30_000_damaged_files",
        figure="messages of at most 2 kB",
    ),
    promise(
        "Pipes, devices, doubled keys, deep nesting and 100,000 layers are refused at once; no memory is a MemoryError",
        f"{CONTAINER}::test_pipe_is_rejected_without_blocking",
        f"{CONTAINER}::test_devices_and_sockets_are_rejected",
        f"{CONTAINER}::test_duplicate_keys_are_rejected",
        f"{CONTAINER}::test_deeply_nested_schedules_are_rejected",
        f"{CONTAINER}::test_100_000_layers_are_rejected",
        f"{CONTAINER}::test_running_out_of_memory_is_a_memory_error",
    ),
    promise(
        "Every writer keeps modes and symbolic links, never replaces a device, and removes what killed processes left",
        f"{WRITING}::test_every_writer_keeps_modes_links_and_devices",
        f"{WRITING}::test_mode_of_a_replaced_file_is_kept",
        f"{WRITING}::test_character_device_is_kept",
        f"{WRITING}::test_only_leftovers_of_killed_processes_are_removed",
    ),
    promise(
        "Every weight of a PyTorch or Keras network is read as it acts, or the network is refused",
        "exchange/test_complete.py::test_modified_modules_are_refused",
        "exchange/test_complete.py::test_weights_outside_the_graph_are_refused",
        "exchange/test_complete.py::test_lora_is_merged_into_the_kernel",
    ),
    promise(
        "No file is unpickled and none runs code",
        "storage/test_pickles.py::test_file_cannot_refer_to_objects",
        f"{LIMITS}::test_no_reader_unpickles",
    ),
    promise(
        "A resumed fit equals the uninterrupted one, bit for bit",
        f"{RESUME}::test_interrupted_fit_resumes_identically",
        f"{RESUME}::test_optimizers_resume_identically",
        "data/test_csr.py::test_resumed_fit_has_the_bits_of_an_uninterrupted_one",
        f"{CHECKPOINT}::test_training_continues_bit_for_bit",
    ),
)

COMPILED_CODE = (
    promise(
        "Read-only installations, no HOME, and a damaged or foreign cache work, with one warning",
        f"{CACHE}::test_unwritable_cache_costs_one_warning",
        f"{CACHE}::test_filled_read_only_folder_is_used",
        f"{CACHE}::test_damaged_file_costs_one_warning",
        f"{CACHE}::test_damaged_cache_is_repaired",
    ),
    promise(
        "A second process compiles nothing, and the cache stops growing",
        f"{CACHE}::test_second_process_compiles_and_writes_nothing",
        f"{CACHE}::test_many_architectures_compile_no_more_than_one",
        f"{CACHE}::test_cache_does_not_grow",
    ),
)

RESOURCES = (
    promise(
        "Memory: parameters × (1 + optimizer states, + 1 for gradients kept, + 1 for averages), two batches",
        f"{LIMITS}::test_memory_of_a_fit",
        f"{FIT}::test_fit_does_not_copy_contiguous_X",
        f"{FIT}::test_a_thousand_fits_do_not_leak_memory",
        figure="and 64 MB",
    ),
    promise(
        "Reading a table of numbers and strings and splitting it into training and test rows makes no object per value",
        "tables/test_table.py::test_memory_from_a_mixed_file_to_features",
        figure="three times the file's size",
    ),
    promise(
        "`import fastbp` compiles nothing; the first fit says that it compiles",
        f"{CACHE}::test_import_compiles_nothing_and_is_quick",
        "kernels/test_jit_notice.py::test_compilation_is_announced_once",
    ),
)

VALUES, KINDS, TABLES = "tables/test_values.py", "tables/test_kinds.py", "cli/test_tables.py"

COLUMNS = (
    promise(
        "A value is the same category or label however it is spelled, in lists, arrays, frames, files and exports",
        f"{VALUES}::test_canonical_spelling",
        f"{VALUES}::test_categories_are_recognized_in_any_spelling_and_container",
        f"{VALUES}::test_exported_module_reads_the_same_values",
        f"{VALUES}::test_labels_are_recognized_in_any_spelling",
    ),
    promise(
        "A few strings among numbers never turn a column into categories; a warning names them and their lines",
        f"{KINDS}::test_string_among_numbers_is_missing",
        f"{KINDS}::test_strings_among_numbers_are_counted_with_their_lines",
        figure="5 % of the values",
    ),
    promise(
        "What a column is does not depend on the rows that are held out",
        f"{KINDS}::test_kinds_do_not_depend_on_held_out_rows",
        f"{TABLES}::test_kind_of_column_does_not_depend_on_seed",
    ),
    promise(
        "Columns without values, of row numbers and of names of rows are left out with a warning, then and later",
        f"{TABLES}::test_column_empty_in_training_is_left_out",
        f"{KINDS}::test_row_names_are_left_out",
        f"{KINDS}::test_row_numbers_are_left_out",
    ),
    promise(
        "Dates are the same features from every container; those that could be mistaken are refused",
        "tables/test_dates.py::test_dates_are_the_same_in_every_container",
        "tables/test_dates.py::test_ambiguous_dates_are_refused",
    ),
    promise(
        "Held-out rows have their share of every class; targets of a regression are not stratified",
        "test_datasets.py::test_split_partitions_rows_and_keeps_class_proportions",
        "test_datasets.py::test_regression_is_not_stratified",
        "test_datasets.py::test_seed_breaks_ties_between_classes",
    ),
)

MEMORY_TESTS, CSR = "reliability/test_memory.py", "data/test_csr.py"
MEMORY = (
    promise(
        "Sparse matrices that point outside their arrays are refused, whatever scipy has noted of them",
        f"{CSR}::test_out_of_range_matrices_are_rejected",
        f"{CSR}::test_out_of_range_matrices_of_other_formats_are_rejected",
        f"{CSR}::test_unsorted_and_duplicate_columns_are_found_despite_scipy_flags",
    ),
    promise(
        "Labels, codes and columns changed during a fit end it with an error and the last finished step's weights",
        f"{MEMORY_TESTS}::test_labels_changed_during_fit_raise_and_leave_finite_weights",
        f"{MEMORY_TESTS}::test_codes_changed_during_fit_raise_and_keep_the_last_step",
        f"{MEMORY_TESTS}::test_changed_validation_labels_raise",
        f"{CSR}::test_columns_changed_during_fit_stop_it_at_the_last_step",
    ),
    promise(
        "NaN that come into X during a fit are divergence; weights stay finite",
        f"{MEMORY_TESTS}::test_nan_during_fit_is_divergence_with_finite_weights",
    ),
    promise(
        "The kernels for plain arrays accept what they can read, in any form, and refuse the rest by name",
        "engine/test_plain_arguments.py::test_forward_is_exact_or_refuses",
        "engine/test_plain_arguments.py::test_backward_is_exact_or_refuses",
        "engine/test_plain_arguments.py::test_update_is_exact_or_refuses",
        "engine/test_plain_arguments.py::test_states_that_init_state_never_gave",
        "engine/test_plain_arguments.py::test_an_array_that_resize_moved_is_read_where_it_is",
    ),
    promise(
        "Compiled code stays within its arrays: training between unreadable pages, and with its bounds asserted",
        "reliability/test_guard_pages.py::test_training_between_unreadable_pages",
        "reliability/test_guard_pages.py::test_stray_access_is_detected",
        "reliability/test_bounds.py::test_out_of_bounds_arguments_are_detected",
        figure="108 trainings, every kind of layer; the kernels for plain arrays",
    ),
    promise(
        "Lack of memory or Ctrl-C in compile, set_weights, resume or building leaves the old model or the new one",
        f"{MEMORY_TESTS}::test_error_during_a_change_leaves_the_old_or_the_new_model",
        f"{MEMORY_TESTS}::test_error_during_build_leaves_a_buildable_model",
        f"{MEMORY_TESTS}::test_error_during_resume_leaves_the_old_or_the_saved_model",
        f"{MEMORY_TESTS}::test_error_during_renewal_leaves_old_or_new_statistics",
    ),
    promise(
        "Callbacks may predict, evaluate, save, set weights and take steps; to fit or compile the model is refused",
        f"{MEMORY_TESTS}::test_callbacks_may_not_fit_or_compile",
        f"{MEMORY_TESTS}::test_callbacks_may_evaluate_and_save",
        f"{MEMORY_TESTS}::test_weights_set_during_fit_keep_the_optimizer_states",
        f"{MEMORY_TESTS}::test_callbacks_may_take_training_steps",
        f"{MEMORY_TESTS}::test_estimator_callbacks_may_not_fit_it",
    ),
)

PROGRESS, CONSOLE, PLOTS = "training/test_progress.py", "util/test_console.py", "plots/test_plots.py"
CALLBACKS, OPTIONS, OUTPUTS = "callbacks/test_callbacks.py", "cli/test_options.py", "cli/test_outputs.py"
NAMES, SUGGESTIONS, CSV = "test_names.py", "util/test_suggestions.py", "tables/test_csv.py"
METRICS, MONITORS = "test_metrics.py", "callbacks/test_monitors.py"
TARGETS, EXTRAS, TOOLS = (f"estimators/test_{name}.py" for name in ("targets", "extras", "tools"))

TERMINALS = (
    promise(
        "What a terminal or a log cannot encode is replaced in output; it ends no training and no command",
        f"{CONSOLE}::test_unencodable_characters_are_replaced",
        f"{CONSOLE}::test_distinct_names_stay_distinct",
        f"{PROGRESS}::test_characters_that_a_stream_cannot_encode_are_replaced",
        f"{OPTIONS}::test_unencodable_characters_do_not_fail",
    ),
    promise(
        "Without standard error or standard output, or with streams that lack `isatty`, training and commands run",
        f"{PROGRESS}::test_no_stream_stops_training",
        f"{CONSOLE}::test_say_without_standard_error_prints_nothing",
        f"{OPTIONS}::test_missing_stdout_or_stderr",
        f"{CALLBACKS}::test_verbose_works_without_stderr",
        f"{EXTRAS}::test_verbose_works_without_standard_output",
    ),
    promise(
        "A log gets whole lines every few seconds, the last values among them, and no bar",
        f"{PROGRESS}::test_log_gets_lines_instead_of_a_bar",
        f"{PROGRESS}::test_log_ends_with_the_last_values",
        f"{PROGRESS}::test_display_of_each_kind_of_stream",
        figure="a line in 5 s",
    ),
    promise(
        "Notebooks get a bar of their own; on narrow terminals the validation figures stay visible",
        f"{PROGRESS}::test_notebooks_get_the_bar_of_tqdm",
        f"{PROGRESS}::test_validation_is_visible_on_narrow_terminals",
        figure="60 columns",
    ),
    promise(
        "`verbose=2` prints a line per epoch, n a line every n epochs; what is printed changes no bit",
        f"{PROGRESS}::test_verbose_sets_the_epochs_between_lines",
        f"{PROGRESS}::test_epoch_lines_do_not_change_training",
        f"{PROGRESS}::test_invalid_verbose_is_refused",
    ),
    promise(
        "Training goes on when nobody reads its output any more",
        f"{OPTIONS}::test_training_continues_when_stdout_is_closed",
        "cli/test_commands.py::test_closed_pipe_is_not_an_error",
    ),
    promise(
        "Default names of outputs do not collide; a file of other data is replaced only if it is named",
        f"{OUTPUTS}::test_stem_drops_known_extensions",
        f"{OUTPUTS}::test_two_tables_give_two_models",
        f"{OUTPUTS}::test_model_of_other_data_is_replaced_only_if_named",
        f"{OUTPUTS}::test_model_saved_by_a_user_is_replaced_only_if_named",
        f"{OUTPUTS}::test_export_replaces_a_file_only_if_named",
    ),
    promise(
        "Data, pictures and files of other programs are never replaced by a model",
        f"{OUTPUTS}::test_train_never_overwrites_other_files",
        f"{OUTPUTS}::test_predict_never_overwrites_its_data",
        f"{OUTPUTS}::test_plot_and_model_must_be_different_files",
    ),
    promise(
        "Predictions are written even where their score cannot be computed",
        f"{OPTIONS}::test_unknown_classes_do_not_prevent_predictions",
        f"{OPTIONS}::test_string_target_does_not_prevent_predictions",
        f"{OPTIONS}::test_numeric_class_names_are_scored",
    ),
)

FIRST_HOUR = (
    promise(
        "`dir(fastbp)` lists the public names, all of which can be imported, and imports nothing",
        f"{NAMES}::test_dir_lists_only_public_names",
        f"{NAMES}::test_dir_omits_names_that_cannot_be_imported",
        f"{NAMES}::test_dir_triggers_no_lazy_import",
    ),
    promise(
        "A model shows itself as its summary, a fit as a table of its epochs",
        f"{MODEL}::test_repr_is_the_summary",
        "util/test_html_table.py::test_model_shows_its_summary",
        "util/test_html_table.py::test_history_shows_evenly_spaced_epochs",
        "util/test_html_table.py::test_returned_history_can_be_shown",
        f"{FIT}::test_repr_of_history",
    ),
    promise(
        "Unknown names and arguments get a suggestion, also for what other libraries call them",
        f"{SUGGESTIONS}::test_suggestions",
        f"{SUGGESTIONS}::test_constructors_suggest_the_argument",
        f"{SUGGESTIONS}::test_package_suggests_the_attribute",
        f"{MONITORS}::test_misspelled_monitor_gets_a_suggestion",
    ),
    promise(
        "The command line suggests options and values in one line; what means something else is not suggested",
        f"{OPTIONS}::test_suggestions",
        f"{OPTIONS}::test_unrelated_names_are_not_suggested",
    ),
    promise(
        "Callbacks with hooks that are never called are refused; those of Keras work",
        f"{CALLBACKS}::test_hooks_that_are_never_called_are_rejected",
        f"{CALLBACKS}::test_other_methods_named_on_something_are_allowed",
        f"{CALLBACKS}::test_empty_hooks_of_keras_callbacks_are_ignored",
    ),
    promise(
        "A model that is no better than the mean, or the most frequent class, is called so",
        f"{OPTIONS}::test_useless_model_is_reported",
        f"{OPTIONS}::test_majority_class_is_the_baseline",
    ),
    promise(
        "A learning rate search that helps nothing says so and suggests none",
        "diagnosis/test_diagnosis.py::test_fruitless_search_says_so",
        f"{OPTIONS}::test_failed_search_keeps_the_default_learning_rate",
        f"{PLOTS}::test_flat_search_suggests_nothing",
    ),
)

PICTURES = (
    promise(
        "Every picture has labels, a legend that hides no curve, and the title it is given",
        f"{PLOTS}::test_without_a_path_a_labelled_figure_is_returned",
        f"{PLOTS}::test_legends_do_not_cover_curves",
        f"{PLOTS}::test_train_draws_curves_and_a_confusion_matrix",
    ),
    promise(
        "Layers that are alike have names that differ, and names of classes do not overlap",
        f"{PLOTS}::test_identical_layers_get_distinct_names",
        f"{PLOTS}::test_class_names_do_not_overlap",
    ),
    promise(
        "What is not finite, or too short to draw, is a gap or an error by name, never a wrong curve",
        f"{PLOTS}::test_diagnosis_without_finite_values_is_drawn",
        f"{PLOTS}::test_short_and_non_finite_histories_are_drawn",
        f"{PLOTS}::test_gradient_health_marks_zeros_and_non_finite_values",
        f"{PLOTS}::test_invalid_arguments_are_refused",
    ),
    promise(
        "Pictures change neither the model nor settings of Matplotlib; one that cannot be written is refused at once",
        f"{PLOTS}::test_plotting_does_not_change_the_model",
        f"{PLOTS}::test_plots_change_no_global_state",
        f"{PLOTS}::test_unsupported_plot_file_is_refused_before_any_work",
    ),
)

METRICS_AND_ESTIMATORS = (
    promise(
        "Every metric knows its direction; one that is unknown needs a mode rather than a guess",
        f"{METRICS}::test_direction_prefers_correct_outputs",
        f"{METRICS}::test_direction_of_name",
        f"{MONITORS}::test_direction_of_custom_metric_is_used",
        f"{MONITORS}::test_unknown_direction_needs_a_mode",
        f"{MONITORS}::test_study_with_opposite_direction_is_rejected",
    ),
    promise(
        "Metrics are those of scikit-learn, with weights and without",
        f"{METRICS}::test_metrics_agree_with_scikit_learn",
        f"{METRICS}::test_confusion_matrix_matches_scikit_learn",
        f"{EXTRAS}::test_r2_matches_scikit_learn",
    ),
    promise(
        "Targets that do not fit the fitted network are refused, and the estimator stays as it was",
        f"{TARGETS}::test_mismatched_y_is_refused_and_changes_nothing",
        f"{TARGETS}::test_number_of_columns_must_match_the_classes",
        f"{TARGETS}::test_refused_first_call_leaves_the_estimator_unfitted",
    ),
    promise(
        "The estimators pass scikit-learn's own checks, but for those that its own perceptrons fail as well",
        "estimators/test_checks.py::test_scikit_learn_checks",
        figure="12 configurations",
    ),
    promise(
        "Same parameters, same weights as scikit-learn's perceptrons; in grids, pipelines and other meta-estimators",
        "estimators/test_estimators.py::test_training_gives_the_same_weights_as_scikit_learn",
        "estimators/test_estimators.py::test_partial_fit_and_warm_start_match_scikit_learn",
        f"{TOOLS}::test_grid_search_in_processes",
        f"{TOOLS}::test_pipeline_with_column_transformer",
        f"{TOOLS}::test_meta_estimators",
    ),
    promise(
        "Masked targets, fractions of units, bad class weights and sample weights are refused by name",
        f"{TARGETS}::test_masked_values_are_refused",
        f"{TARGETS}::test_non_integer_layer_sizes_are_refused",
        f"{TARGETS}::test_bad_class_weights_are_refused",
        f"{TARGETS}::test_bad_sample_weights_are_refused",
        f"{EXTRAS}::test_invalid_parameters_are_refused",
    ),
)

CSV_FILES = (
    promise(
        "Quoted line breaks are read wherever a block of the file ends, by the reader with pyarrow and the one without",
        f"{CSV}::test_quoted_line_breaks_at_every_block_boundary",
        f"{CSV}::test_both_readers_give_the_same_result",
    ),
    promise(
        "Separators, decimal commas and encodings are found and said; what is ambiguous can be named",
        f"{CSV}::test_separators_are_detected_and_reported",
        f"{CSV}::test_separator_in",
        f"{CSV}::test_decimal_commas",
        f"{CSV}::test_unicode_encodings_are_detected",
        f"{CSV}::test_other_encodings_can_be_given",
    ),
    promise(
        "Errors name the line that an editor shows",
        f"{CSV}::test_errors_name_the_line",
        f"{CSV}::test_line_numbers_match_those_of_an_editor",
    ),
    promise(
        "Integers stay exact, and long lines, many columns and numbers that stop late in a column are read",
        f"{CSV}::test_integer_targets_stay_exact",
        f"{CSV}::test_long_lines",
        f"{CSV}::test_many_columns",
        f"{CSV}::test_numeric_column_with_a_late_string",
    ),
)

SECTIONS = {
    "Inputs": INPUTS,
    "Tables": COLUMNS,
    "CSV files": CSV_FILES,
    "Numerics": NUMERICS,
    "Threads, processes, interrupts": THREADS,
    "Files": FILES,
    "Compiled code": COMPILED_CODE,
    "Resources": RESOURCES,
    "Memory": MEMORY,
    "Metrics and estimators": METRICS_AND_ESTIMATORS,
    "Terminals, logs and output files": TERMINALS,
    "The first hour": FIRST_HOUR,
    "Pictures": PICTURES,
}


@cache
def functions_of(path: str) -> frozenset[str]:
    """The names of the test functions of a file below tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def page() -> str:
    """docs/reliability.md."""
    total = sum(map(len, SECTIONS.values()))
    lines = [
        "# Reliability",
        "",
        f"What fastbp promises beside correct numbers: {total} promises, each kept by tests that run for every change.",
        "This page is generated from the table of those tests by `python -m tests.reliability`.",
        "",
    ]
    for section, promises in SECTIONS.items():
        lines += [f"## {section}", "", "| promise | limit | tests |", "| --- | --- | --- |"]
        for each in promises:
            names = ", ".join(f"`{test}`" for test in each.tests)
            lines.append(f"| {each.text} | {each.figure} | {names} |")
        lines.append("")
    return "\n".join(lines)
