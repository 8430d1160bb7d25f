# SPDX-License-Identifier: Apache-2.0
"""Images to learn from: where they come from, how a task is cut from them."""

from respin.golden.data.catalogue import (
    DATASETS,
    IMAGE_SUFFIXES,
    describe_datasets,
    find_pictures,
    load_dataset,
    load_images,
    read_picture,
)
from respin.golden.data.images import Dataset, ImageSet
from respin.golden.data.sources import Source, SourceError, cache_folder
from respin.golden.data.task import Task, class_counts, make_task, require_of_each

__all__ = [
    "DATASETS",
    "IMAGE_SUFFIXES",
    "Dataset",
    "ImageSet",
    "Source",
    "SourceError",
    "Task",
    "cache_folder",
    "class_counts",
    "describe_datasets",
    "find_pictures",
    "load_dataset",
    "load_images",
    "make_task",
    "read_picture",
    "require_of_each",
]
