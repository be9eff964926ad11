"""The page and the plot, from figures that are made up."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from benchmarks.beside_kafka.lines import IN_README, LINES
from benchmarks.beside_kafka.reasons import Reason
from benchmarks.beside_kafka.results import OURS, THEIRS, Line, Results, Verdict
from benchmarks.targets import ROOT

from benchmarks.beside_kafka import page, plot

SVG = "{http://www.w3.org/2000/svg}"
FAST = Line("Produce", "produce", "mb_per_s", "produce, MB/s", ",.0f", "more", 1.0)
SLOW = Line("Consume", "consume", "mb_per_s", "consume, MB/s", ",.0f", "more", 1.0)
FREE = Line("Groups", "group", "seconds", "a group, s", ".2f")
ABSENT = Line("Absent", "absent", "seconds", "absent, s", ".2f", target=1.0)
MACHINE = {
    "cpus": 2,
    "model": "",
    "memory": 8.0,
    "system": "Linux 6.1",
    "pykbroker": "1.0",
    "python": "3.11.1",
    "kafka": "4.3.0",
    "java": "17",
    "librdkafka": "2.16.0",
    "confluent_kafka": "2.16.1",
}


@pytest.fixture
def results() -> Results:
    made = Results(machine=MACHINE, minutes=12.0)
    for number in range(2):
        made.add(OURS, number, {"produce": {"mb_per_s": 200.0}, "consume": {"mb_per_s": 50.0}})
        made.add(THEIRS, number, {"produce": {"mb_per_s": 100.0}, "consume": {"mb_per_s": 100.0 + number}})
        made.add(OURS, number, {"group": {"seconds": 2.0}})
    return made


def test_every_figure_stands_beside_its_ratio_and_target(results: Results) -> None:
    table = page.table(results, [FAST, SLOW, FREE])
    assert "| produce, MB/s | 200 (200–200) | 100 (100–100) | 2.00 (2.00–2.00) | ≥ 1 | met |" in table
    assert "| consume, MB/s | 50 (50–50) | 100 (100–101) | 0.50 (0.50–0.50) | ≥ 1 | **not met** |" in table
    assert "| a group, s | 2.00 (2.00–2.00) | not measured | not measured |  |  |" in table


def test_the_readme_has_some_lines_medians(results: Results) -> None:
    head = "| | pykbroker | Apache Kafka | ratio |\n|---|---:|---:|---:|\n"
    before = f"Fast.\n\n{head}| old | 1 | 2 | 3 |\n\nMedians.\n\nMore."
    chosen = {FAST.words: "produce", FREE.words: "never measured beside Apache Kafka"}
    text = page.readme(before, results, [FAST, SLOW, FREE], chosen)
    assert text == f"Fast.\n\n{head}| produce | 200 | 100 | 2.00 |\n\nMedians.\n\nMore."


def test_the_readmes_lines_are_lines_of_the_table() -> None:
    assert IN_README.keys() <= {line.words for line in LINES}
    text = (ROOT / "README.md").read_text()
    assert all(f"| {words} | " in text for words in IN_README.values())


def test_the_page_counts_targets_and_names_what_failed(results: Results) -> None:
    results.failures.append("round 1, start, Apache Kafka: TimeoutError")
    text = page.page(results, [FAST, SLOW, FREE, ABSENT])
    assert "2 interleaved rounds, 12 minutes" in text
    assert re.search(r"Of the targets 1 are met, 0 are even .*, 1\nare not met", text)
    assert "- round 1, start, Apache Kafka: TimeoutError" in text
    assert "Absent" not in text


def test_what_is_behind_stands_under_its_reason(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    ratio = results.ratio(SLOW)
    assert ratio is not None
    monkeypatch.setattr(page, "REASONS", [])
    assert page.behind([(SLOW, ratio)]).startswith("**Not looked into yet**\n\n- consume, MB/s: 0.50 (≥ 1)")
    monkeypatch.setattr(page, "REASONS", [Reason("Reading", "^consume", "It reads slowly.")])
    text = page.behind([(SLOW, ratio), (FREE, ratio)])
    assert text.startswith("**Reading**\n\n- consume, MB/s: 0.50 (≥ 1)\n\nIt reads slowly.\n\n**Not looked into")
    assert text.endswith("- a group, s: 0.50 (no target)\n")
    assert page.behind([]) == "Nothing is."


def test_the_plot_has_a_dot_for_each_ratio_in_the_colour_of_its_target(results: Results) -> None:
    root = ElementTree.fromstring(plot.svg(page.dots(results, [FAST, SLOW, FREE, ABSENT])))
    dots = [circle for circle in root.iter(f"{SVG}circle") if circle.find(f"{SVG}title") is not None]
    assert [dot.get("fill") for dot in dots] == [plot.COLOURS[Verdict.MET], plot.COLOURS[Verdict.UNMET]]
    x = [float(dot.get("cx", "")) for dot in dots]
    one = plot.LABELS + plot.CHART / 2
    assert x[0] > one > x[1]
    assert x[0] - one == pytest.approx(one - x[1], rel=0.05)


def test_dots_stay_inside_whatever_the_ratio() -> None:
    made = plot.svg([plot.Dot("A & B", "<odd>", 300.0, 1 / 300, 1000.0, Verdict.FREE)])
    root = ElementTree.fromstring(made)
    width = float(root.get("width", ""))
    assert all(0 <= float(line.get("x2", "")) <= width for line in root.iter(f"{SVG}line"))
    assert "A &amp; B" in made


def test_an_empty_plot_is_still_one() -> None:
    assert ElementTree.fromstring(plot.svg([])).tag == f"{SVG}svg"


def test_every_line_is_there_once_and_ends_in_its_unit() -> None:
    words = [line.words for line in LINES]
    assert len(words) == len(set(words))
    assert all(re.search(r", (s|ms|MB|MB/s|CPU s/GB|answers/s|broker CPU s per second)$", one) for one in words), words
