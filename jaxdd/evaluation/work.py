"""What a referee computes: the rows of a table, learning rates, and accuracies."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from jaxdd.data import Split
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.problem import Problem
from jaxdd.evaluation import rows
from jaxdd.evaluation.cells import Cell, measured
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.opening import Opened
from jaxdd.evaluation.options import FULL, RANDOM
from jaxdd.evaluation.protocol import Judge, Protocol, Watch
from jaxdd.evaluation.rates import NETWORKS, best_rate
from jaxdd.evaluation.rows import COLUMNS, Row
from jaxdd.evaluation.teacher import (
    Teacher,
    protocol_of_teacher,
    teacher_from,
    train_teacher,
)
from jaxdd.evaluation.whole import Whole
from jaxdd.methods.network import network_for
from jaxdd.progress import say
from jaxdd.scores.selection import select
from jaxdd.statistics import statistics
from jaxdd.storage import provenance
from jaxdd.storage.files import to_json
from jaxdd.storage.signals import Signals
from jaxdd.types import Array

FULL_ALONE = "all training data are measured with the labels of their classes alone"


class Work:
    """The rows of a table, made when they are first needed, and their measurement.

    Args:
        opened: the table.
    """

    def __init__(self, opened: Opened):
        self.opened = opened

    @cached_property
    def teacher(self) -> Teacher | None:
        """The network that labels images; None where there is none."""
        opened, protocol = self.opened, self.opened.first_protocol
        if not opened.teaches:
            return None
        problem, tested = opened.problem, opened.tested.split
        if opened.bank is not None:
            return teacher_from(opened.bank, problem, tested)
        how = protocol_of_teacher(opened.first.network, opened.real_epochs, protocol)
        say(f"training the teacher: {how.network['name']}, {opened.real_epochs} epochs")
        return train_teacher(problem, how, tested)

    @cached_property
    def rows(self) -> list[Row]:
        """All rows but that of the whole training data, in the order of the table."""
        opened, protocol = self.opened, self.opened.first_protocol
        problem, preprocess = opened.problem, opened.problem.preprocess
        table = [rows.distilled(name, x) for name, x in opened.sets.items()]
        sizes = list(dict.fromkeys(row.ipc for row in table))
        real = problem.on_device(problem.splits.train)
        named = [x for x in opened.baselines if x not in (RANDOM, FULL)]
        network = network_for(problem.dataset, opened.first.network, protocol.precision)
        chosen = select(named, sizes, network, real, protocol.seed)
        for baseline in opened.baselines:
            for size in sizes if baseline != FULL else []:
                name = baseline if len(sizes) == 1 else f"{baseline}, ipc {size}"
                if baseline == RANDOM:
                    row = rows.random(name, real, size, preprocess, protocol)
                else:
                    row = rows.selected(name, real, chosen[baseline, size], preprocess)
                table.append(row)
        return [row.taught(self.teacher) for row in table]

    def table(self, networks: Mapping[str, Any]) -> dict[str, Any]:
        """The table with its architectures as `referee.json` has it."""
        opened = self.opened
        described = [{"name": x.name, "kind": x.kind, "ipc": x.ipc} for x in self.rows]
        if FULL in opened.baselines:
            described.append({"name": FULL, "kind": FULL, "ipc": None})
        return json.loads(
            to_json(
                {
                    "identity": opened.identity,
                    "about": opened.described(),
                    "data": opened.tested.name,
                    "rows": described,
                    "teacher": None if self.teacher is None else self.teacher.about,
                    "notes": list(opened.notes),
                    "networks": dict(networks),
                    "versions": provenance.versions(),
                    "device": provenance.device(),
                }
            )
        )

    def entry(
        self, net: str, protocol: Protocol, parts: Sequence[Hits]
    ) -> dict[str, Any]:
        """The accuracies of one architecture, and its learning rate.

        Args:
            net: its name.
            protocol: of all rows.
            parts: answers on validation and on test data, as far as they are known.
        """
        opened, rate, chosen = self.opened, None, None
        if opened.rates:
            rate, chosen = self._chosen(net, protocol, parts[0])
        cells = self._cells(protocol, opened.tested.split, rate)
        if FULL in opened.baselines:
            cells.append(self._whole(protocol, rate))
        answers = measured(net, cells, len(opened.tested.split.labels), parts[1])
        entries: list[dict[str, Any]] = [
            {
                "row": cell.row,
                "column": cell.column,
                "accuracy": statistics(100.0 * right.mean(axis=1)),
            }
            for cell, right in zip(cells, answers, strict=True)
        ]
        for row in self.rows:
            for column, why in row.lacking.items():
                entries.append({"row": row.name, "column": column, "lacking": why})
        if FULL in opened.baselines:
            for column in COLUMNS[1:]:
                entries.append({"row": FULL, "column": column, "lacking": FULL_ALONE})
        return {
            "network": protocol.network,
            "learning_rate": protocol.training.learning_rate if rate is None else rate,
            "chosen": chosen,
            "cells": entries,
        }

    def _chosen(
        self, net: str, protocol: Protocol, kept: Hits
    ) -> tuple[float, dict[str, Any]]:
        """The learning rate of an architecture, and the accuracies that decided."""
        rates, held_out = self.opened.rates, self.opened.problem.splits.validation
        assert held_out is not None, "opening has made a validation split"
        few = dataclasses.replace(protocol, num_eval=NETWORKS, num_random=NETWORKS)
        tried = [self._cells(few, held_out, rate) for rate in rates]
        stage = f"{net}, learning rates"
        answers = measured(
            stage,
            [cell for cells in tried for cell in cells],
            len(held_out.labels),
            kept,
        )
        per_rate = np.array([100.0 * x.mean() for x in answers])
        rate, means = best_rate(rates, list(per_rate.reshape(len(rates), -1)))
        say(f"{net}: learning rate {rate:g}, {max(means):.2f} % on validation data")
        return rate, {
            "samples": len(held_out.labels),
            "networks": NETWORKS,
            "accuracies": [list(x) for x in zip(rates, means, strict=True)],
        }

    def _cells(
        self, protocol: Protocol, held_out: Split, rate: float | None
    ) -> list[Cell]:
        """Every row with every kind of labels that it has."""
        judges: dict[tuple[str, bool], Judge] = {}

        def judge_of(preprocess: Preprocess, column: str) -> Judge:
            views = self.opened.views and column == "teacher"
            key = preprocess.digest, views
            if key not in judges:
                problem = dataclasses.replace(
                    self.opened.problem, preprocess=preprocess
                )
                judges[key] = self._judge(problem, protocol, held_out, views)
            return judges[key]

        def cell_of(row: Row, column: str) -> Cell:
            random = row.kind == RANDOM
            count = protocol.num_random if random else protocol.num_eval
            judge = judge_of(row.preprocess, column)

            def measure(first: int, hits: Hits, signals: Signals, watch: Watch) -> None:
                group = judge.keys(count), row.sets(column, count, protocol)
                judge.measure(group, first, hits, signals, watch, rate)

            return Cell(row.name, column, count, measure)

        return [
            cell_of(row, x) for row in self.rows for x in COLUMNS if x in row.labels
        ]

    def _judge(
        self,
        problem: Problem,
        protocol: Protocol,
        held_out: Split,
        views: bool = False,
    ) -> Judge:
        """A judge that is compiled once for all rates that are tried."""
        preprocess, network = problem.preprocess, json.dumps(protocol.network)
        key = id(held_out), preprocess.digest, network, views
        if key not in self._judges:
            relabel = partial(self._probabilities, preprocess) if views else None
            self._judges[key] = Judge(problem, protocol, held_out, relabel)
        return self._judges[key]

    def _probabilities(self, preprocess: Preprocess, images: Array) -> Array:
        """The teacher's, [B, K] of a minibatch."""
        assert self.teacher is not None, "opening has seen to a teacher"
        return self.teacher.labels(images[None], preprocess)[0]

    @cached_property
    def _judges(self) -> dict[Any, Judge]:
        return {}

    def _whole(self, protocol: Protocol, rate: float | None) -> Cell:
        """The row of all training data."""
        opened = self.opened
        whole = Whole(opened.problem, protocol, opened.real_epochs)
        held_out = opened.problem.on_device(opened.tested.split)
        judge = self._judge(opened.problem, protocol, opened.tested.split)
        keys = judge.keys(protocol.num_eval)

        def measure(first: int, hits: Hits, signals: Signals, watch: Watch) -> None:
            whole.measure(keys, held_out, first, hits, signals, watch, rate)

        return Cell(FULL, "hard", protocol.num_eval, measure)
