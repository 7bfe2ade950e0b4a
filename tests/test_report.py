"""The report from fabricated documents: complete, self-contained, escaped, small."""

import html.parser
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppn_tf.errors import RecordError
from reproduce import compare, report
from reproduce.reporting import answers, documents, gather, heatmap, markdown, pictures

ROOT = Path(report.__file__).resolve().parents[1]
VOID = {"meta", "br", "wbr", "img", "input", "link", "hr"}
PAPER = compare.load_paper()


class Page(html.parser.HTMLParser):
    """Tags in balance, identifiers, attributes that load something, and the text."""

    def __init__(self, content):
        super().__init__()
        self.open, self.ids, self.loaded, self.tags, self.words = [], [], [], Counter(), []
        self.images = []
        self.feed(content)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags[tag] += 1
        self.ids += [found["id"]] if "id" in found else []
        names = ("src", "href", "srcset", "data", "action", "poster")
        self.loaded += [found[name] for name in names if name in found]
        if tag == "img":
            self.images.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


def cell(name, ours, status=None, **values):
    """A compared number as an exhibit writes it."""
    published = PAPER[name].value
    verdict = status and {
        "status": status,
        "provisional": values.pop("provisional", False),
        "reason": "a difference of 1 & <more>",
    }
    return {
        "id": name,
        "condition": "clean",
        "block": "sound",
        "method": "ppn",
        "metric": PAPER[name].metric or "ratio",
        "published": published,
        "published_sd": PAPER[name].sd,
        "ours": ours,
        "ours_sd": 0.25,
        "n": 5,
        "difference": None if None in (ours, published) else ours - published,
        "verdict": verdict,
        "runs": ["aa"],
        "unit": PAPER[name].unit,
        "how": "",
    } | values


def document(folder, name, cells, **values):
    content = {
        "exhibit": name,
        "title": f"Exhibit {name}",
        "about": "the paper's object",
        "profile": "paper",
        "command": f"python reproduce/{name}.py",
        "body": "",
        "figures": [],
        "cost": {"runs_found": 1, "runs_wanted": 2, "hours": 0.5, "devices": ["CPU (x)"]},
        "cells": cells,
        "environments": {"aa": {"backend": "tensorflow"}},
    }
    (folder / f"{name}.json").write_text(json.dumps(content | values))


def record(folder, key="aa", model="ppn", psnr_db=14.42):
    """A record whose scores are Table I's PPN row, but for PSNR."""
    regions = {}
    for channel, suffix in (("amplitude", "amp"), ("phase", "phase")):
        row = {m: PAPER[f"table1.clean.ppn.{m}_{suffix}"].value for m in ("mse", "psnr", "ssim")}
        psnr = psnr_db if channel == "amplitude" else row["psnr"]
        score = {"mse": row["mse"], "psnr_db": psnr, "ssim": row["ssim"] / 100}
        regions[channel] = {"per-image": score}
    content = {
        "hash": key,
        "label": f"{model}, seed 3",
        "spec": {
            "model": model,
            "transform": "log1p",
            "noise": {"name": "none"},
            "jitter_px": 0,
            "seed": 3,
        },
        "environment": {
            "backend": "tensorflow",
            "device": "CPU (x)",
            "commit": "c0ffee",
            "versions": {"keras": "3.15.1"},
        },
        "cost": {
            "train_seconds": 5000.0,
            "evaluate_seconds": 400.0,
            "finished_utc": "2026-01-02T03:04:05+00:00",
        },
        "results": {"regions": {"gap": regions}},
    }
    path = folder / "runs" / key / "tensorflow.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    """Two exhibits, a figure, a record and a failure."""
    Image.fromarray(np.zeros((300, 1050, 3), np.uint8)).save(tmp_path / "fig4.png")
    record(tmp_path)
    document(
        tmp_path,
        "table1",
        [
            cell("table1.clean.ppn.psnr_amp", 15.16, compare.DIFFERS, provisional=True),
            cell("table1.clean.ppn.psnr_amp", 14.42, compare.REPRODUCED, block="text"),
            cell("table1.clean.ppn.ssim_amp", None),
        ],
        body="| a | b |\n| --- | ---: |\n| <script>alert(1)</script> | 1.5 ± 0.1 |\n\n- x & y\n",
    )
    document(
        tmp_path,
        "fig4",
        [cell("claims.mid_band_share_cnn", 0.25, compare.CANNOT)],
        title="Figure 4 <b>",
        figures=["fig4.png", "fig4.pdf", "gone.png"],
    )
    (tmp_path / "all.json").write_text(json.dumps({"made": {}, "failures": {"fig5": "a < b"}}))
    return tmp_path


@pytest.fixture
def page(folder):
    report.main(["--out", str(folder)])
    return Page((folder / "report.html").read_text())


def test_the_page_is_one_balanced_file_that_loads_nothing(page):
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.loaded)
    assert not page.tags["link"]
    assert (page.tags["script"], page.tags["h1"]) == (1, 1)
    assert page.tags["table"] == page.tags["caption"]
    assert len(set(page.ids)) == len(page.ids)
    targets = {link[1:] for link in page.loaded if link.startswith("#")}
    assert targets <= set(page.ids)


def test_styles_and_script_load_nothing():
    for name in ("style.css", "script.js"):
        content = (ROOT / "reproduce" / "reporting" / name).read_text()
        assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp|</", content), name


def test_every_published_number_is_there_once(page, folder):
    assert sorted(i[2:] for i in page.ids if i.startswith("n-")) == sorted(PAPER)
    text = (folder / "REPORT.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9._-]+)` \|", text, re.MULTILINE)
    assert rows == list(PAPER)


def test_states_of_published_numbers(folder):
    found = {number.published.id: number for number in gather.gather(folder).numbers}
    assert found["table1.clean.ppn.psnr_amp"].state == answers.COMPARED
    assert found["table1.clean.ppn.ssim_amp"].state == answers.NO_RECORD
    assert found["claims.mid_band_share_cnn"].state == answers.MISSING_VALUE
    # the command that would answer: of the exhibit that holds it, else by its name
    assert found["claims.mid_band_share_cnn"].commands == ("python reproduce/fig4.py",)
    assert found["table2.full.psnr_amp"].commands == ("python reproduce/table2.py",)
    assert found["table2.full.psnr_amp"].state == answers.NO_RECORD


def test_counts_by_exhibit_block_and_verdict(folder):
    found = gather.gather(folder)
    assert found.states == {
        answers.COMPARED: 1,
        answers.NO_RECORD: sum(p.value is not None for p in PAPER.values()) - 1,
        answers.MISSING_VALUE: sum(p.value is None for p in PAPER.values()),
    }
    counted = answers.counts(found.comparisons)
    assert counted["Exhibit table1", "sound"] == {"comparisons": 1, "differs": 1, "provisional": 1}
    assert counted["Exhibit table1", "text"][compare.REPRODUCED] == 1
    assert counted["Figure 4 <b>", "sound"][compare.CANNOT] == 1


def test_a_number_says_verdict_time_device_and_command(page, folder):
    content = (folder / "report.html").read_text()
    row = re.search(r'<tr id="n-table1\.clean\.ppn\.psnr_amp".*?</tr>', content, re.DOTALL)[0]
    assert "<b>D</b> differs, provisional" in row
    assert "15.16 ± 0.25" in row
    assert "n 5, difference +0.74" in row
    assert "a difference of 1 &amp; &lt;more&gt;" in row
    assert "14.42 ± 0.08 dB" in row
    assert "<code>python reproduce/table1.py</code>" in row
    # two comparisons rest on one run of 5400 s: counted once
    assert "<td>90 min</td><td>CPU (x)</td>" in row.replace('<td class="nowrap">', "<td>")
    line = next(
        line
        for line in (folder / "REPORT.md").read_text().splitlines()
        if line.startswith("| `table1.clean.ppn.psnr_amp` |")
    )
    assert "clean, sound, ppn: 15.16 ± 0.25 (n 5) **D\\*** differs" in line
    assert line.endswith("| `python reproduce/table1.py` | 90 min | CPU (x) |")


def test_what_documents_hold_is_escaped(page, folder):
    content = (folder / "report.html").read_text()
    assert "alert(1)</script>" not in content
    assert "&lt;script&gt;alert(1)" in content
    assert "Figure 4 &lt;b&gt;" in content
    assert "a &lt; b" in content
    assert "## Figure 4 &lt;b&gt;" in (folder / "REPORT.md").read_text()


def test_figures_are_inside_with_a_text_and_a_missing_one_is_named(page):
    (image,) = page.images
    assert image["alt"].startswith("Figure 4 <b> (fig4.png)")
    # 1050 px at 300 dpi are a printed column: half as many on a screen
    assert (image["width"], image["height"]) == ("525", "150")
    assert "The figure gone.png is missing or damaged." in "".join(page.words)


def test_figures_are_shrunk_until_they_fit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 2000, 3), np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        Image.fromarray(noise).save(path)
    (tmp_path / "text.png").write_text("no picture")
    found = pictures.embed([*paths, tmp_path / "text.png"], budget=60_000)
    assert set(found) == set(paths)
    assert sum(len(picture.uri) for picture in found.values()) < 60_000
    assert found[paths[0]].width_px == 1000


def test_heatmap_measures_in_published_gaps(folder):
    (own,) = gather.gather(folder).heatmaps
    assert (own.title, own.seeds) == ("noise-free, input log1p, jitter 0 px", {"ppn": 1})
    # the record repeats the published row: no distance
    assert own.rows == [("gap", "per-image", {"ppn": pytest.approx(0.0, abs=1e-12)})]
    run = documents.read_runs(folder / "runs")["aa", "tensorflow"]
    record(folder, "bb", psnr_db=14.42 + 0.74)
    other = documents.read_runs(folder / "runs")["bb", "tensorflow"]
    # PPN's published advantage is 14.42 - 13.68 = 0.74 dB: one gap in one of six metrics,
    # half of it in the mean of two runs
    for runs, expected in (([other], 1 / 6), ([run, other], 1 / 12)):
        assert heatmap.distance(runs, "gap", "per-image", "clean", PAPER) == pytest.approx(expected)
    assert heatmap.distance([run], "rows", "field", "clean", PAPER) is None


def test_smoke_says_that_it_gives_no_verdicts(tmp_path):
    document(tmp_path, "table1", [cell("table1.clean.ppn.psnr_amp", 9.0)], profile="smoke")
    report.write(tmp_path)
    content = (tmp_path / "report.html").read_text()
    assert "Profile smoke gives no verdicts" in content
    assert "no verdict, profile smoke" in content
    assert "python reproduce/table2.py --profile smoke" in content
    assert "**Profile smoke gives no verdicts**" in (tmp_path / "REPORT.md").read_text()


def test_an_empty_folder_gives_a_report_without_records(tmp_path):
    line = report.write(tmp_path)
    assert f"0 exhibits, 0 comparisons, {len(PAPER)} published numbers" in line
    Page((tmp_path / "report.html").read_text())
    with pytest.raises(RecordError, match="there is no folder .*python reproduce/all.py"):
        report.write(tmp_path / "gone")


def test_damaged_files_do_not_stop_the_report(folder):
    (folder / "fig9.json").write_text("{")
    (folder / "speed.json").write_text("[]")
    (folder / "runs" / "aa" / "jax.json").write_text('{"hash": "aa"}')
    assert report.write(folder).startswith("report: 2 exhibits, 3 comparisons")


@pytest.mark.parametrize(("own", "shown"), [("", "CPU (here)"), ("CPU (there)", "CPU (there)")])
def test_a_number_without_runs_names_the_device_that_measured_it(tmp_path, own, shown):
    number = {"id": "claims.speedup_overlap_30", "ours": {"mean": 2.0}, "runs": []}
    document(tmp_path, "fig8", [number], device=own)
    (found,) = documents.read_documents(tmp_path)
    made = {"fig8": {"seconds": 2.0, "device": "CPU (here)"}}
    (answer,) = answers.answers_of(found, PAPER, {}, made)
    assert answers.cost([answer]) == ("2 s", shown)


def test_exhibits_stand_in_the_order_of_the_paper(tmp_path):
    for name in ("table2", "mine", "claims", "fig11", "fig3", "table1"):
        document(tmp_path, name, [])
    found = [one.exhibit for one in documents.read_documents(tmp_path)]
    assert found == ["table1", "fig3", "table2", "fig11", "claims", "mine"]


def test_claims_come_from_the_scripts():
    text = documents.claim(ROOT / "reproduce" / "table1.py")
    assert text.startswith("PPN beats PtychoNN, PtyNet and DPI")
    assert text.endswith("do not differ (section IV-B2).")
    assert documents.claim(ROOT / "reproduce" / "gone.py") == ""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "# One\n\ntext **b** `c<d`",
            "<h3>One</h3>\n<p>text <strong>b</strong> <code>c&lt;d</code></p>",
        ),
        ("### Two", "<h4>Two</h4>"),
        ("- a\n  goes on\n- b", "<ul><li>a goes on</li><li>b</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("```\n| <x> |\n```", "<pre><code>| &lt;x&gt; |</code></pre>"),
        ("![a](a.png)", ""),
        ("a D* b*\nc", "<p>a D* b* c</p>"),
    ],
)
def test_markdown(source, expected):
    assert markdown.to_html(source, "Table") == expected


def test_markdown_tables_keep_escaped_bars_and_align_numbers():
    made = markdown.to_html("## Part\n| a | n |\n|---|---:|\n| x \\| y | 1 |", "Table")
    assert "<caption><span>Table: Part</span></caption>" in made
    assert '<td>x | y</td><td class="number">1</td>' in made


def test_a_column_of_text_that_begins_with_a_digit_is_text():
    rows = ["| 1.0 ± 0.1 S* | 1 | 100 (a / b - 1), a = mean over the seeds |", "| - | px | |"]
    made = markdown.to_html("\n".join(["| a | unit | how |", "|---|---|---|", *rows]), "Table")
    assert '<td class="number">1.0 ± 0.1 S*</td><td>1</td><td>100 (a' in made
    assert '<td class="number">-</td><td>px</td>' in made


def test_report_needs_no_backend(folder):
    code = (
        "import sys\n"
        "from reproduce import report\n"
        f"report.main(['--out', {str(folder)!r}])\n"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_an_id_that_the_paper_lacks_is_named(tmp_path):
    wrong = cell("table1.clean.ppn.psnr_amp", 9.0) | {"id": "table9.ppn.psnr"}
    document(tmp_path, "table1", [wrong])
    report.write(tmp_path)
    text = (tmp_path / "REPORT.md").read_text()
    assert "- table1: ids that paper.yaml lacks: table9.ppn.psnr" in text
