# SPDX-License-Identifier: Apache-2.0
"""All that a study says, prepared once for whatever shows it."""

from typing import Any

from respin.cli.learn.differences import difference_groups, variation_rows
from respin.cli.learn.tables import (
    Study,
    accuracy_rows,
    chosen_settings,
    command_of,
    conditions_of,
    label_tables,
    memory_rows,
    methods_of,
    saturation_rows,
    scenario_rows,
    seeds_of,
    tasks_of,
    title_of,
    versions_of,
    wear_rows,
)
from respin.golden.learn.study import ENDURANCE, TASKS_A_DAY


def contents(study: Study) -> dict[str, Any]:
    """Return what is shown of ``study``; a part that it does not have is empty."""
    methods, tasks = methods_of(study), tasks_of(study)
    return {
        "title": title_of(study),
        "command": command_of(study),
        "conditions": conditions_of(study, tasks),
        "methods": methods,
        "tasks": tasks,
        "seeds": seeds_of(study),
        "accuracy": accuracy_rows(study, methods, tasks),
        "chosen": chosen_settings(study, methods, tasks),
        "differences": difference_groups(study, methods, tasks),
        "variations": variation_rows(study, methods),
        "labels": label_tables(study, methods, tasks),
        "memory": memory_rows(study, methods),
        "wear": wear_rows(study, methods),
        "endurance": ENDURANCE,
        "tasks_a_day": TASKS_A_DAY,
        "saturation": saturation_rows(study, methods, tasks),
        "continual": [scenario_rows(name, given, methods) for name, given in (study.get("continual") or {}).items()],
        "licences": study.get("licences") or {},
        "versions": versions_of(study),
    }
