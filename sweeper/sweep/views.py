"""What the MLflow pages of a sweep show: which columns, which charts, and the links that open them.

MLflow keeps a saved view as a tag of the experiment. The format has no documentation; this file is
the only place that knows it. An MLflow that does not understand a view ignores it, and nothing
else breaks.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from sweeper.ledger.names import short_names

TAG = "mlflow.sharedViewState."
VIEWS = ("leaderboard", "charts")
SCATTERS = 3
AXES = 10  # more axes than this and nobody can read a parallel plot
PLAYERS = ("discriminator", "generator")
VARIETY = ("coverage", "distance", "deviation")


def is_log(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter is searched on a logarithmic scale."""
    return bool(parameter.get("log"))


def helper(short: str) -> str:
    """The column of a parameter's decimal logarithm: MLflow's plots have no log axes for it."""
    return f"log10.{short}"


def short(plan: Mapping[str, Any]) -> dict[str, str]:
    """The short name of every parameter, because tables and axes show some fourteen letters."""
    return short_names([str(parameter["name"]) for parameter in plan["parameters"]])


def axes(plan: Mapping[str, Any], *, log: bool = False) -> list[str]:
    """The columns that plots show for the parameters, or for those on a logarithmic scale."""
    names = short(plan)
    return [
        helper(names[p["name"]]) if is_log(p) else names[p["name"]]
        for p in plan["parameters"]
        if is_log(p) or not log
    ]


def score(plan: Mapping[str, Any]) -> str:
    return f"eval/{plan['metric']}"


def best(plan: Mapping[str, Any]) -> str:
    return f"{score(plan)}_best"


def leaderboard(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The table of trials, the best score first."""
    return {**_common(plan), "runListHidden": False, "compareRunsMode": "TABLE"}


def charts(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plots of a sweep: what the parameters do to the score, how it fell, and the samples."""
    sections: list[tuple[str, int, int, Sequence[dict[str, Any]]]] = [
        ("What the parameters do", 1, 420, [_parallel(plan)]),
        ("Score", 2, 380, [_line(score(plan), log=True), *_scatters(plan)]),
        ("Samples", 1, 700, [_samples(plan)]),
        ("Losses", 2, 320, [_line(f"loss/{player}.adversarial") for player in PLAYERS]),
        ("Diagnostics", 3, 280, [_line(f"variety/{name}") for name in VARIETY]),
        ("Speed and rungs", 2, 280, [_line("perf/images_per_second"), _line("sweep/rung")]),
    ]
    cards = [
        {
            **card,
            "uuid": f"chart{i}.{j}",
            "metricSectionId": f"section{i}",
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": 100,
        }
        for i, (_, _, _, cards) in enumerate(sections)
        for j, card in enumerate(cards)
    ]
    return {
        **_common(plan),
        "runListHidden": True,
        "compareRunsMode": "CHART",
        "compareRunCharts": cards,
        "compareRunSections": [
            _section(i, name, columns, height)
            for i, (name, columns, height, _) in enumerate(sections)
        ],
    }


def encode(name: str, state: Mapping[str, Any]) -> str:
    """Write a view as the value of its tag."""
    now = int(time.time() * 1000)
    raw = json.dumps(state, separators=(",", ":")).encode()
    packed = "deflate;" + base64.b64encode(zlib.compress(raw, 9)).decode()
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": packed})


def decode(value: str) -> tuple[str, dict[str, Any]]:
    """Read back the name and the state of a view from the value of its tag."""
    view = json.loads(value)
    packed = view["state"].removeprefix("deflate;")
    return view["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def tags(plan: Mapping[str, Any]) -> dict[str, str]:
    """Every view of a sweep, as tags of its experiment."""
    states = {"leaderboard": leaderboard(plan), "charts": charts(plan)}
    return {
        f"{TAG}{plan['id']}{view}": encode(f"{plan['name']} · {view}", states[view])
        for view in VIEWS
    }


def links(base: str, experiment_id: str, sweep_id: str) -> dict[str, str]:
    """The addresses that open the views of a sweep on the server at ``base``."""
    modes = {"leaderboard": "TABLE", "charts": "CHART"}
    queries = {
        view: {
            # Without it the page opens in the layout for language models.
            "workflowType": "machine_learning",
            "compareRunsMode": modes[view],
            "viewStateShareKey": f"{sweep_id}{view}",
        }
        for view in VIEWS
    }
    return {
        view: f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query)}"
        for view, query in queries.items()
    }


def _common(plan: Mapping[str, Any]) -> dict[str, Any]:
    widths = _widths(plan)
    return {
        # The parent run has no score, and would be drawn as a trial.
        "searchFilter": (
            f"tags.`sweeper.kind` = 'trial' and tags.`sweeper.sweep_id` = '{plan['id']}'"
        ),
        "orderByKey": f"metrics.`{best(plan)}`",
        "orderByAsc": plan["mode"] == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(widths),
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *widths, "duration"],
        "columnWidths": {"attributes.`Run Name`": 250, "runDateAndNestInfo": 145, **widths},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        # Otherwise MLflow sorts the sections that it makes by itself in front.
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _widths(plan: Mapping[str, Any]) -> dict[str, int]:
    """The columns of the table in their order, each as wide as its words need, in pixels."""
    names = short(plan)
    heads = {
        best(plan): "metrics",
        "eval/heldout": "metrics",
        "sweep/rung": "metrics",
        "sweeper.state": "tags",
        **dict.fromkeys(names.values(), "params"),
        "sweeper.baseline": "tags",
        "sweeper.diagnosis": "tags",
        "sweeper.reason": "tags",
    }
    words = {names[p["name"]]: p.get("choices", []) for p in plan["parameters"]}
    letters = {head: max(len(str(word)) for word in [head, *words.get(head, [])]) for head in heads}
    return {f"{kind}.`{head}`": max(100, 30 + 7 * letters[head]) for head, kind in heads.items()}


def _section(number: int, name: str, columns: int, height: int) -> dict[str, Any]:
    return {
        "uuid": f"section{number}",
        "name": name,
        "display": True,
        "isReordered": True,
        "columns": columns,
        "cardHeight": height,
        "deleted": False,
        "isGenerated": False,
    }


def _parallel(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "displayName": f"Parameters and the best {plan['metric']}",
        "selectedParams": axes(plan)[:AXES],
        "selectedMetrics": [best(plan)],
        "showAllRuns": True,
    }


def _scatters(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "type": "SCATTER",
            "displayName": f"{column} and the best {plan['metric']}",
            "xaxis": {"key": column, "type": "PARAM"},
            "yaxis": {"key": best(plan), "type": "METRIC"},
        }
        for column in axes(plan, log=True)[:SCATTERS]
    ]


def _line(key: str, *, log: bool = False) -> dict[str, Any]:
    scale = "log" if log else "linear"
    return {
        "type": "LINE",
        "displayName": key,
        "metricKey": key,
        "selectedMetricKeys": [key],
        "lineSmoothness": 0,
        "xAxisScaleType": scale,
        "scaleType": scale,
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _samples(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "IMAGE",
        "displayName": "Samples from the same latents",
        "imageKeys": ["samples"],
        # The one step that every trial reaches; the slider moves on from there.
        "step": plan["rungs"][0] if plan["rungs"] else round(plan["horizon_kimg"] * 1000),
        "showRunParams": False,
    }
