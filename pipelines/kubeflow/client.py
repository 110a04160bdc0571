"""A client of Kubeflow Pipelines v2: uploads pipelines, starts and schedules their runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kfp_server_api as api

from components.runs.connection import RefusedError
from components.runs.reader import ENDED, RunReader
from streetseg.core.errors import StreetsegError, did_you_mean

PAGE = 100
"""Schedules in one answer."""


class KubeflowClient(RunReader):
    """The API of a Kubeflow Pipelines, as one user in one namespace."""

    def __init__(self, url: str, namespace: str, token_file: Path | None) -> None:
        """Set the client up; nothing is sent yet.

        Args:
            url: with http:// or https://; empty for the endpoint of the cluster that this runs in.
            namespace: profile of a multi-user Kubeflow; empty for a single-user one.
            token_file: see :func:`components.runs.connection.connect`.

        Raises:
            StreetsegError: no URL and no cluster, or no token in the file.
        """
        super().__init__(url, token_file)
        self.namespace = namespace
        self._scope = {"namespace": namespace} if namespace else {}
        self._experiments = api.ExperimentServiceApi(self._connection)
        self._schedules = api.RecurringRunServiceApi(self._connection)

    def upload(self, package: Path, pipeline: str) -> tuple[api.V2beta1PipelineVersion, bool]:
        """Make a compiled pipeline a version, unless its very content is one already.

        Args:
            package: the YAML.
            pipeline: name of the pipeline, which is created if there is none.

        Returns:
            The version, and whether it is new.
        """
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        name = f"{pipeline}-{digest[:12]}"
        pipeline_id = self._pipeline_id(pipeline)
        if existing := self._find_version(pipeline_id, name):
            return existing, False
        try:
            uploads = api.PipelineUploadServiceApi(self._connection)
            version = uploads.upload_pipeline_version(
                str(package), name=name, pipelineid=pipeline_id
            )
        except RefusedError as error:
            if error.status != 409:
                raise
            if existing := self._find_version(pipeline_id, name):  # someone else's, just now
                return existing, False
            raise StreetsegError(
                f"{self.url} has a pipeline version '{name}' that does not belong to '{pipeline}': "
                "delete it in the UI"
            ) from None
        return version, True

    def start(
        self,
        pipeline: api.V2beta1PipelineVersion | dict[str, Any],
        experiment: str,
        name: str,
        parameters: Mapping[str, Any],
    ) -> api.V2beta1Run:
        """Start a run of a pipeline version, or of a compiled pipeline that the run takes along.

        The experiment is created if need be.
        """
        body = self._runnable(pipeline, experiment, name, parameters)
        return self._runs.run_service_create_run(api.V2beta1Run(**body))

    def cancel(self, run_id: str) -> None:
        """Terminate a run: what it is doing is stopped, and nothing further is started.

        Raises:
            StreetsegError: there is no such run, or it has ended.
        """
        state = self.state(self.details(run_id))
        if state in ENDED:
            raise StreetsegError(f"run {run_id} has ended: it {ENDED[state]}")
        self._runs.run_service_terminate_run(run_id)

    def retry(self, run_id: str) -> None:
        """Do what failed in a run again; what succeeded is kept.

        Raises:
            StreetsegError: there is no such run, or it did not fail.
        """
        state = self.state(self.details(run_id))
        if state not in ("FAILED", "CANCELED"):
            ended = ENDED.get(state, "has not ended")
            raise StreetsegError(f"run {run_id} {ended}: only what failed can be done again")
        self._runs.run_service_retry_run(run_id)

    def runs(self, experiment: str, last: int) -> list[api.V2beta1Run]:
        """The last runs of an experiment, the newest first; none if there is no such experiment."""
        existing = self._find_experiment(experiment)
        if not existing:
            return []
        page = self._runs.run_service_list_runs(
            experiment_id=existing.experiment_id, sort_by="created_at desc", page_size=last
        )
        return page.runs or []

    def run_url(self, run_id: str) -> str:
        """Where the UI shows a run; ``KF_PIPELINES_UI_ENDPOINT`` if the UI is elsewhere."""
        ui = os.environ.get("KF_PIPELINES_UI_ENDPOINT", self.url).rstrip("/")
        return f"{ui}/#/runs/details/{run_id}"

    def schedule(
        self,
        version: api.V2beta1PipelineVersion,
        experiment: str,
        name: str,
        cron: str,
        parameters: Mapping[str, Any],
    ) -> bool:
        """Run a pipeline version on a schedule, which replaces the one of the same name.

        A run does not start while another of the schedule runs, and missed runs are not made up
        for.

        Args:
            version: what to run.
            experiment: of its runs; created if need be.
            name: of the schedule.
            cron: six fields, seconds first.
            parameters: of every run.

        Returns:
            Whether a schedule was replaced.

        Raises:
            StreetsegError: the schedule of this name is of another pipeline, or has a run under
                way, which Kubeflow would delete with it.
        """
        former = self._find_schedules(name)
        for each in former:
            if each.pipeline_version_reference.pipeline_id != version.pipeline_id:
                raise StreetsegError(
                    f"the schedule '{name}' at {self.url} is of another pipeline: choose another "
                    "--name"
                )
        self._refuse_under_way(former)
        self._schedules.recurring_run_service_create_recurring_run(
            api.V2beta1RecurringRun(
                **self._runnable(version, experiment, name, parameters),
                trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
                mode="ENABLE",
                max_concurrency="1",
                no_catchup=True,
            )
        )
        self._delete(former)
        return bool(former)

    def schedules(self) -> list[api.V2beta1RecurringRun]:
        """All schedules, of any pipeline, by name."""
        found: list[api.V2beta1RecurringRun] = []
        token = ""
        while True:
            page = self._schedules.recurring_run_service_list_recurring_runs(
                page_token=token, page_size=PAGE, **self._scope
            )
            found += page.recurring_runs or []
            token = page.next_page_token
            if not token:
                return sorted(found, key=lambda each: each.display_name)

    def scheduled_runs(self, schedule_id: str, last: int) -> list[api.V2beta1Run]:
        """The last runs of a schedule, the newest first."""
        page = self._runs.run_service_list_runs(
            filter=_equals("recurring_run_id", schedule_id),
            sort_by="created_at desc",
            page_size=last,
            **self._scope,
        )
        return page.runs or []

    def unschedule(self, name: str) -> None:
        """Delete a schedule.

        Raises:
            StreetsegError: there is none of this name, or a run of it is under way, which Kubeflow
                would delete with it.
        """
        schedules = self._find_schedules(name)
        if not schedules:
            names = [each.display_name for each in self.schedules()]
            hint = did_you_mean(name, names, "'schedule --list' shows them")
            raise StreetsegError(f"no schedule '{name}' at {self.url}: {hint}")
        self._refuse_under_way(schedules)
        self._delete(schedules)

    def _runnable(
        self,
        pipeline: api.V2beta1PipelineVersion | dict[str, Any],
        experiment: str,
        name: str,
        parameters: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What a run and a schedule have in common."""
        if isinstance(pipeline, dict):
            source: dict[str, Any] = {"pipeline_spec": pipeline}
        else:
            reference = api.V2beta1PipelineVersionReference(
                pipeline_id=pipeline.pipeline_id, pipeline_version_id=pipeline.pipeline_version_id
            )
            source = {"pipeline_version_reference": reference}
        return {
            **source,
            "display_name": name,
            "experiment_id": self._experiment_id(experiment),
            "runtime_config": api.V2beta1RuntimeConfig(parameters=dict(parameters)),
        }

    def _pipeline_id(self, name: str) -> str:
        """The id of a pipeline, which is created if there is none of this name."""
        try:
            pipeline = self._pipelines.pipeline_service_get_pipeline_by_name(name, **self._scope)
        except RefusedError as error:
            if error.status != 404:
                raise
            new = api.V2beta1Pipeline(name=name, display_name=name, **self._scope)
            try:
                pipeline = self._pipelines.pipeline_service_create_pipeline(new)
            except RefusedError as refusal:
                if refusal.status != 409:
                    raise
                raise StreetsegError(
                    f"the name '{name}' is taken at {self.url} by a pipeline that is not yours to "
                    "see: ask for access to it, or name your own --namespace"
                ) from None
        return pipeline.pipeline_id

    def _find_version(self, pipeline_id: str, name: str) -> api.V2beta1PipelineVersion | None:
        page = self._pipelines.pipeline_service_list_pipeline_versions(
            pipeline_id, filter=_has_name(name)
        )
        return next(iter(page.pipeline_versions or []), None)

    def _find_experiment(self, name: str) -> api.V2beta1Experiment | None:
        page = self._experiments.experiment_service_list_experiments(
            filter=_has_name(name), **self._scope
        )
        return next(iter(page.experiments or []), None)

    def _experiment_id(self, name: str) -> str:
        """The id of an experiment, which is created if there is none of this name."""
        experiment = self._find_experiment(name)
        if not experiment:
            new = api.V2beta1Experiment(display_name=name, **self._scope)
            experiment = self._experiments.experiment_service_create_experiment(new)
        return experiment.experiment_id

    def _find_schedules(self, name: str) -> list[api.V2beta1RecurringRun]:
        page = self._schedules.recurring_run_service_list_recurring_runs(
            filter=_has_name(name), **self._scope
        )
        return page.recurring_runs or []

    def _refuse_under_way(self, schedules: list[api.V2beta1RecurringRun]) -> None:
        """Raise StreetsegError if a run of these schedules has not ended."""
        for schedule in schedules:
            for run in self.scheduled_runs(schedule.recurring_run_id, last=1):
                if run.state in ("PENDING", "RUNNING"):
                    raise StreetsegError(
                        f"run {run.run_id} of the schedule '{schedule.display_name}' is under way, "
                        "and Kubeflow would delete it with the schedule: wait until it has ended, "
                        "or cancel it"
                    )

    def _delete(self, schedules: list[api.V2beta1RecurringRun]) -> None:
        for each in schedules:
            self._schedules.recurring_run_service_delete_recurring_run(each.recurring_run_id)


def _has_name(name: str) -> str:
    """The API's filter for things of this name."""
    return _equals("display_name", name)


def _equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})
