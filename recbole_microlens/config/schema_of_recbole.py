"""The settings that RecBole reads in every run: environment, training, evaluation, data."""

from __future__ import annotations

from recbole_microlens.config.forms import (
    clip_grad_norm,
    columns,
    discretization,
    encoding,
    eval_args,
    gpu_ids,
    interval,
    metrics,
    threshold,
    train_neg_sample_args,
    values_to_keep,
)
from recbole_microlens.config.kinds import (
    Kind,
    flag,
    many,
    mapping,
    number,
    one_or_many,
    or_null,
    path,
    separator,
    text,
    whole,
    word,
)

# RecBole's optimisers, and how many values each keeps beside one of a parameter.
LEARNERS = {"adam": 2, "adamw": 2, "sgd": 0, "adagrad": 1, "rmsprop": 1, "sparse_adam": 2}
_LEVELS = ("debug", "info", "warning", "error", "critical")
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")

_COLUMN, _COLUMNS = text("the name of a column"), many(text("the name of a column"))
_SUFFIX = text("the suffix of a file")

# Group -> key -> kind of its values, and meaning.
KEYS: dict[str, dict[str, tuple[Kind, str]]] = {
    "Environment": {
        "gpu_id": (gpu_ids(), "numbers of the CUDA devices to use"),
        "use_gpu": (flag(), "use a GPU if there is one"),
        "worker": (whole(0, 1024), "data loading processes (DataLoader workers)"),
        "seed": (whole(0, 2**32 - 1), "seed of all random number generators"),
        "reproducibility": (flag(), "deterministic algorithms of cuDNN"),
        "state": (or_null(word(*_LEVELS, any_case=True)), "log level"),
        "data_path": (path("a folder"), "folder of the converted datasets"),
        "checkpoint_dir": (path("a folder"), "where run folders go"),
        "show_progress": (or_null(flag()), "progress bars; null: only on a terminal"),
        "log_wandb": (flag(), "log to Weights & Biases"),
        "wandb_project": (text(), "project in Weights & Biases"),
        "save_dataset": (or_null(flag()), "not supported: it pickles"),
        "dataset_save_path": (or_null(path()), "not supported: it pickles"),
        "save_dataloaders": (or_null(flag()), "not supported: it pickles"),
        "dataloaders_save_path": (or_null(path()), "not supported: it pickles"),
    },
    "Training": {
        "epochs": (whole(0), "epochs at most; see stopping_step"),
        "train_batch_size": (whole(1), "samples in a batch; users, for content models at every position"),
        "learner": (word(*LEARNERS, any_case=True), "the optimiser"),
        "learning_rate": (number(0), "learning rate of all but a content model's encoder"),
        "weight_decay": (number(0), "weight decay of all but a content model's encoder"),
        "train_neg_sample_args": (train_neg_sample_args(), "how negatives are drawn for training"),
        "eval_step": (whole(), "epochs between two validations; 0: none"),
        "stopping_step": (
            whole(0),
            "stop after more than this many validations in a row without a better one",
        ),
        "clip_grad_norm": (clip_grad_norm(), "arguments of torch's clip_grad_norm_"),
        "loss_decimal_place": (or_null(whole(1, 30)), "digits of the loss in the log"),
        "require_pow": (flag(), "the norm of embeddings is squared in their regularisation"),
        "enable_amp": (flag(), "mixed precision of stock models; content models read precision"),
        "enable_scaler": (flag(), "scale the loss under enable_amp"),
        "transform": (or_null(word(*_TRANSFORMS)), "how sequences of a batch are changed"),
        "shuffle": (flag(), "shuffle the training data before each epoch"),
        "reg_weight": (number(0), "weight of a model's regularisation"),
    },
    "Evaluation": {
        "eval_args": (eval_args(), "how data are split, ordered and ranked"),
        "repeatable": (
            flag(),
            "RecBole's flag for sequential data; with mask_history seen items are still masked",
        ),
        "metrics": (metrics(), "metrics of validation and test"),
        "topk": (one_or_many(whole(1)), "cut-offs of the metrics"),
        "valid_metric": (text("a metric such as Hit@10"), "the metric that selects the best epoch"),
        "valid_metric_bigger": (flag(), "settled by the metric"),
        "eval_batch_size": (whole(1), "scores, or samples, of a batch of evaluation"),
        "metric_decimal_place": (whole(0, 30), "digits of metrics"),
        "tail_ratio": (or_null(number(above=0)), "share, or count, of rare items for TailPercentage"),
    },
    "Files of a dataset": {
        "field_separator": (separator(), "between columns"),
        "seq_separator": (separator(), "between values of a sequence"),
        "encoding": (or_null(encoding()), "of the files"),
        "load_col": (columns(all_of_them=True), "columns to load, by the suffix of the file"),
        "unload_col": (columns(all_of_them=False), "columns to leave out, by the suffix of the file"),
        "unused_col": (
            columns(all_of_them=False),
            "columns to drop after filtering, by the suffix of the file",
        ),
        "additional_feat_suffix": (or_null(one_or_many(_SUFFIX)), "suffixes of further files"),
        "benchmark_filename": (or_null(many(_SUFFIX, length=3)), "parts of a dataset that is split already"),
        "seq_len": (or_null(mapping(whole(1))), "longest sequence of a column"),
        "numerical_features": (many(_COLUMN, least=0), "columns of numbers to embed"),
        "preload_weight": (or_null(mapping(_COLUMN)), "columns of vectors, by the column of their ids"),
        "alias_of_user_id": (or_null(_COLUMNS), "columns numbered like users"),
        "alias_of_item_id": (or_null(_COLUMNS), "columns numbered like items"),
        "alias_of_entity_id": (or_null(_COLUMNS), "columns numbered like entities"),
        "alias_of_relation_id": (or_null(_COLUMNS), "columns numbered like relations"),
    },
    "Filters and labels": {
        "rm_dup_inter": (or_null(word("first", "last")), "which of several equal interactions is kept"),
        "val_interval": (values_to_keep(), "rows to keep, by column"),
        "filter_inter_by_user_or_item": (flag(), "drop interactions of users and items without features"),
        "user_inter_num_interval": (
            or_null(interval()),
            "keep users with a number of interactions in this interval",
        ),
        "item_inter_num_interval": (
            or_null(interval()),
            "keep items with a number of interactions in this interval",
        ),
        "entity_kg_num_interval": (
            or_null(interval()),
            "keep entities with a number of triples in this interval",
        ),
        "relation_kg_num_interval": (
            or_null(interval()),
            "keep relations with a number of triples in this interval",
        ),
        "kg_reverse_r": (flag(), "add each relation the other way round"),
        "threshold": (threshold(), "a column, and the least value with a positive label"),
        "normalize_field": (or_null(_COLUMNS), "columns of numbers to scale to 0..1"),
        "normalize_all": (or_null(flag()), "scale all columns of numbers to 0..1"),
        "discretization": (discretization(), "columns of numbers to put into buckets"),
    },
    "Names of columns": {
        "USER_ID_FIELD": (_COLUMN, "column of users"),
        "ITEM_ID_FIELD": (_COLUMN, "column of items"),
        "RATING_FIELD": (_COLUMN, "column of ratings"),
        "TIME_FIELD": (_COLUMN, "column of times"),
        "LABEL_FIELD": (_COLUMN, "column of labels"),
        "HEAD_ENTITY_ID_FIELD": (_COLUMN, "column of head entities"),
        "TAIL_ENTITY_ID_FIELD": (_COLUMN, "column of tail entities"),
        "RELATION_ID_FIELD": (_COLUMN, "column of relations"),
        "ENTITY_ID_FIELD": (_COLUMN, "column of entities"),
        "NEG_PREFIX": (text("a prefix"), "before the name of a column of negatives"),
        "LIST_SUFFIX": (text("a suffix"), "after the name of a column of sequences"),
        "ITEM_LIST_LENGTH_FIELD": (_COLUMN, "column of lengths of sequences"),
        "POSITION_FIELD": (_COLUMN, "column of positions"),
        "MAX_ITEM_LIST_LENGTH": (whole(1, 1_000_000), "input items of a sequence"),
    },
}

SETTLED = (
    "MODEL_TYPE",
    "MODEL_INPUT_TYPE",
    "eval_type",
    "device",
    "single_spec",
    "local_rank",
    "world_size",
    "valid_neg_sample_args",
    "test_neg_sample_args",
    "feature_num",
    "MASK_INDEX",
    "MASK_ITEM_SEQ",
    "POS_ITEMS",
    "NEG_ITEMS",
    "CROP_ITEM_SEQ",
    "CROP_ITEM_SEQ_LEN",
    "INVERSE_ITEM_SEQ",
    "REORDER_ITEM_SEQ",
)
