import math
import re

import pytest

from ppn_tf.errors import DataError, OptionError
from reproduce import compare


@pytest.fixture(scope="module")
def paper():
    return compare.load_paper()


def number(**changes):
    values = {"id": "x", "where": "y", "value": 14.42, "unit": "dB", "printed_unit": 0.01}
    return compare.Published(**(values | {"sd": 0.08, "sd_used": 0.08} | changes))


def judge(published, mean, sd=0.0, n=5, gap=None, profile="paper"):
    return compare.verdict(published, mean, sd, n, column_gap=gap, profile=profile)


# --- the file ---


def test_every_table_is_complete(paper):
    for condition in ("clean", "noisy"):
        for method in ("ppn", *compare.CNNS):
            for metric in compare.METRICS:
                entry = paper[f"table1.{condition}.{method}.{metric}"]
                assert (entry.condition, entry.method, entry.metric) == (condition, method, metric)
                assert entry.sd > 0
    four = [metric for metric in compare.METRICS if not metric.startswith("mse")]
    tables = {
        "table2": ("full", "without-nlb", "mhsa", "without-decoder"),
        "table3": ("ppn", "transunet", "segformer", "ptychoformer"),
        "table4": ("mse", "mae", "huber", "npcc", "nssim", "combined"),
    }
    for table, rows in tables.items():
        keys = {f"{table}.{row}.{metric}" for row in rows for metric in four}
        assert keys == {key for key in paper if key.startswith(f"{table}.")}
        assert all((paper[key].value is None) == (table == "table3") for key in keys)


def test_values_read_back(paper):
    expected = {
        "table1.clean.ppn.psnr_amp": (14.42, 0.08, "dB"),
        "table1.noisy.ptychonn.mse_phase": (0.0147, 0.0004, "1"),
        "table1.noisy.ppn.ssim_phase": (68.30, 1.10, "%"),
        "table2.without-nlb.psnr_phase": (18.39, None, "dB"),
        "table4.combined.ssim_amp": (88.50, None, "%"),
        "fig10.ppn.size_mib": (6.12, None, "MiB"),
        "fig10.ptychoformer.gflops": (1.105, None, "GFLOP"),
        "claims.combined_efficiency": (41748, None, "ratio"),
    }
    for key, values in expected.items():
        assert (paper[key].value, paper[key].sd, paper[key].unit) == values


def test_values_are_whole_printed_units(paper):
    for entry in paper.values():
        if entry.value is not None:
            units = entry.value / entry.printed_unit
            assert units == pytest.approx(round(units), abs=1e-6), entry.id


def test_mse_and_psnr_contradict_each_other_where_marked(paper):
    # Jensen: with a peak of 1 a mean of PSNRs is never below the PSNR of the mean error;
    # half a printed unit of either is granted
    marked = set()
    for condition in ("clean", "noisy"):
        for method in ("ppn", *compare.CNNS):
            for channel in ("amp", "phase"):
                pair = [
                    paper[f"table1.{condition}.{method}.{m}_{channel}"] for m in ("mse", "psnr")
                ]
                least = -10 * math.log10(pair[0].value + pair[0].printed_unit / 2)
                impossible = pair[1].value + pair[1].printed_unit / 2 < least
                assert bool(pair[0].contradicted_by) == bool(pair[1].contradicted_by) == impossible
                if impossible:
                    assert pair[0].contradicted_by == (pair[1].id,)
                    assert pair[1].contradicted_by == (pair[0].id,)
                    marked.add((condition, method, channel))
    assert marked == {
        ("clean", "ptychonn", "amp"),
        ("clean", "ptychonn", "phase"),
        ("clean", "dpi", "phase"),
        ("noisy", "dpi", "amp"),
        ("noisy", "ppn", "phase"),
    }
    assert paper["table4.mse.psnr_phase"].contradicted_by == (
        "table1.clean.ppn.psnr_phase",
        "table2.full.psnr_phase",
    )


def test_a_missing_spread_is_that_of_table_one(paper):
    assert paper["table2.mhsa.psnr_amp"].sd is None
    assert paper["table2.mhsa.psnr_amp"].sd_used == 0.08
    assert paper["table4.mae.ssim_phase"].sd_used == 0.70
    assert paper["table1.noisy.dpi.psnr_amp"].sd_used == 0.10
    assert paper["fig10.ppn.size_mib"].sd_used == 0.0


def test_column_gap_by_hand(paper):
    assert compare.column_gap(paper, "clean", "psnr_amp") == pytest.approx(14.42 - 13.68)
    assert compare.column_gap(paper, "clean", "mse_amp") == pytest.approx(0.0429 - 0.0363)
    assert compare.column_gap(paper, "noisy", "mse_phase") == pytest.approx(0.0143 - 0.0131)
    assert compare.column_gap(paper, "clean", "ssim_phase") == pytest.approx(70.6 - 67.8)
    with pytest.raises(OptionError, match="no published value table1.dark.ppn.mse_amp: expected"):
        compare.column_gap(paper, "dark", "mse_amp")


def test_published_sign(paper):
    sign = compare.published_sign
    assert sign(paper, "table2.full.psnr_amp", "table2.mhsa.psnr_amp") == 1
    assert sign(paper, "table1.clean.ppn.mse_amp", "table1.clean.dpi.mse_amp") == -1
    assert sign(paper, "table1.noisy.dpi.psnr_amp", "table1.noisy.ptychonn.psnr_amp") == 0
    assert sign(paper, "table3.ppn.psnr_amp", "table3.segformer.psnr_amp") == 0
    with pytest.raises(OptionError, match="unknown published number 'table9'"):
        sign(paper, "table9", "table2.full.psnr_amp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("a: 1", "expected a list of entries, received dict"),
        ("- 3", "entry 0: expected a mapping, received int"),
        ("- {id: a}", r"missing keys \['printed_unit', 'sd', 'unit', 'value', 'where'\]"),
        ("- {<<: *e, colour: red}", r"unknown keys \['colour'\]"),
        ("- {<<: *e, value: '3'}", "value must be a number or null, received '3'"),
        ("- {<<: *e, value: .nan}", "value must be a number or null, received nan"),
        ("- {<<: *e, printed_unit: 0}", "printed_unit must be positive, received 0"),
        ("- {<<: *e, sd: -1}", "sd must not be negative, received -1"),
        ("- {<<: *e, where: 4}", "where must be text, received 4"),
        ("- {<<: *e, metric: mae}", "metric must be one of .*, received 'mae'"),
        ("- {<<: *e, contradicted_by: b}", "contradicted_by must be a list of ids"),
        ("- {<<: *e, contradicted_by: [b]}", "a: contradicted_by unknown b"),
        (
            "- {<<: *e}\n- {<<: {id: a}, where: b, value: 1, unit: c, printed_unit: 1, sd: null}",
            "entry 1: the id 'a' is there already",
        ),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, message):
    anchor = "{id: a, where: b, value: 1, unit: c, printed_unit: 1, sd: null}"
    path = tmp_path / "paper.yaml"
    path.write_text(text.replace("*e", f"&e {anchor}", 1))
    with pytest.raises(DataError, match=re.escape(str(path)) + "(.|\n)*" + message):
        compare.load_paper(path)
    with pytest.raises(DataError, match="none.yaml: cannot be read"):
        compare.load_paper(tmp_path / "none.yaml")


def test_yaml_cannot_make_objects(tmp_path):
    path = tmp_path / "paper.yaml"
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(DataError, match="cannot be read as YAML"):
        compare.load_paper(path)


# --- the rule ---


def test_reproduced_by_hand():
    # 2 sqrt(0.08^2 + 0.06^2) = 0.2, below half of 0.74
    result = judge(number(), 14.60, 0.06, gap=0.74)
    assert result.status == result.text == compare.REPRODUCED
    assert result.bound == pytest.approx(0.2)
    assert result.difference == pytest.approx(0.18)
    assert result.reason == "a difference of +0.18 is within the bound of 0.2"
    assert not result.provisional


def test_the_bound_itself_still_counts():
    exact = number(sd=None, sd_used=0.0)
    assert judge(exact, 14.425).status == compare.REPRODUCED
    assert judge(exact, 14.415).status == compare.REPRODUCED
    assert judge(exact, 14.4251).status == compare.DIFFERS
    assert judge(number(), 14.62, 0.06, gap=0.74).status == compare.REPRODUCED


def test_differs_by_hand():
    result = judge(number(), 14.21, 0.06, gap=0.74)
    assert result.status == compare.DIFFERS
    assert result.difference == pytest.approx(-0.21)
    assert result.reason == "a difference of -0.21 is beyond the bound of 0.2"


def test_half_a_printed_unit_is_the_least_bound():
    result = judge(number(sd=0.001, sd_used=0.001), 14.424, 0.0, gap=0.74)
    assert (result.status, result.bound) == (compare.REPRODUCED, 0.005)


@pytest.mark.parametrize(("mean", "place"), [(19.2, "within"), (13.0, "beyond")])
def test_a_spread_that_cannot_tell_methods_apart(paper, mean, place):
    # clean phase column: gap 19.41 - 19.10 = 0.31; PtyNet's bound is at least 2 x 0.26
    entry = paper["table1.clean.ptynet.psnr_phase"]
    gap = compare.column_gap(paper, "clean", "psnr_phase")
    result = judge(entry, mean, 0.0, gap=gap)
    assert result.status == compare.CANNOT_SPREAD
    assert result.bound == pytest.approx(0.52)
    assert (
        f"is {place} the bound of 0.52, which is not below half the published gap" in result.reason
    )


def test_the_bound_must_be_strictly_below_half_the_gap():
    entry = number(sd=0.25, sd_used=0.25)
    assert judge(entry, 14.42, gap=1.0).status == compare.CANNOT_SPREAD
    assert judge(entry, 14.42, gap=1.001).status == compare.REPRODUCED
    # our own spread counts alike: 2 sqrt(0.08^2 + 0.06^2) = 0.2
    assert judge(number(), 14.42, 0.06, gap=0.4).status == compare.CANNOT_SPREAD


def test_few_seeds_are_provisional():
    four, five = judge(number(), 14.4, 0.0, n=4), judge(number(), 14.4, 0.0, n=5)
    assert (four.status, four.text) == (compare.REPRODUCED, "reproduced, provisional")
    assert five.text == "reproduced"
    assert judge(number(), 10.0, 0.0, n=4).text == "differs, provisional"
    wide = judge(number(), 14.4, 0.3, n=2, gap=0.74)
    assert wide.text == "cannot be checked (spread), provisional"


def test_one_seed_has_no_spread_of_its_own():
    for sd in (None, 9.0, float("nan")):
        result = judge(number(), 14.57, sd, n=1, gap=0.74)
        assert result.bound == pytest.approx(0.16)
        assert result.text == "reproduced, provisional"


def test_a_count_depends_on_no_seed(paper):
    size = paper["fig10.ppn.size_mib"]
    assert judge(size, 6.118, None, n=None).text == "reproduced"
    assert judge(size, 6.129, None, n=None).text == "differs"


@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_short_profiles_give_no_verdict(profile):
    assert judge(number(), 14.42, profile=profile) is None
    assert compare.with_ordering(None, "same") is None


def test_a_missing_value_cannot_be_checked(paper):
    result = judge(paper["table3.segformer.psnr_amp"], 14.0)
    assert (result.status, result.text) == (
        compare.CANNOT,
        "cannot be checked: value missing",
    )
    assert result.bound is None and result.difference is None


def test_a_contradicted_value_cannot_be_checked(paper):
    result = judge(paper["table1.clean.dpi.psnr_phase"], 18.91, gap=0.31)
    assert result.text == "cannot be checked: contradicts table1.clean.dpi.mse_phase"
    assert result.difference == pytest.approx(0.0)
    assert result.to_dict() == {
        "status": "cannot be checked",
        "text": result.text,
        "bound": pytest.approx(0.48),
        "difference": 0.0,
        "reason": "contradicts table1.clean.dpi.mse_phase",
        "provisional": False,
    }


def test_refusals():
    entry = number()
    with pytest.raises(OptionError, match="unknown profile 'full': expected one of smoke, quick"):
        judge(entry, 1.0, profile="full")
    with pytest.raises(OptionError, match="x: n must be at least 1, received 0"):
        judge(entry, 1.0, n=0)
    with pytest.raises(OptionError, match="x: column_gap must be positive, received 0"):
        judge(entry, 1.0, gap=0)
    with pytest.raises(DataError, match="x: our value must be finite, received nan"):
        judge(entry, float("nan"))
    for sd in (None, float("nan"), -0.1):
        with pytest.raises(DataError, match="x: 5 seeds need a standard deviation, received"):
            judge(entry, 1.0, sd)


# --- the ordering ---


def test_ordering_by_the_paired_interval():
    assert compare.ordering_verdict((0.1, 0.3), 1) == "same"
    assert compare.ordering_verdict((-0.3, -0.1), -1) == "same"
    assert compare.ordering_verdict((-0.3, -0.1), 1) == "reversed"
    assert compare.ordering_verdict((0.1, 0.3), -1) == "reversed"
    assert compare.ordering_verdict((-0.1, 0.3), 1) == "open"
    assert compare.ordering_verdict((0.0, 0.3), 1) == "open"
    assert compare.ordering_verdict((0.1, 0.3), 0) == "none"
    with pytest.raises(DataError, match=r"two finite numbers in order, received \(2, 1\)"):
        compare.ordering_verdict((2, 1), 1)
    with pytest.raises(OptionError, match="must be -1, 0 or 1, received 2"):
        compare.ordering_verdict((1, 2), 2)


@pytest.mark.parametrize(
    ("mean", "ordering", "status"),
    [
        (12.0, "same", compare.SAME_ORDERING),
        (12.0, "open", compare.DIFFERS),
        (12.0, "reversed", compare.DIFFERS),
        (12.0, "none", compare.DIFFERS),
        (14.42, "same", compare.REPRODUCED),
        (14.42, "reversed", compare.REPRODUCED),
    ],
)
def test_value_and_ordering_together(mean, ordering, status):
    result = compare.with_ordering(judge(number(), mean, n=3), ordering)
    assert result.status == status
    assert result.text == f"{status}, provisional"
    said = {"same": "keeps the published", "reversed": "reverses the", "open": "includes 0"}
    assert said.get(ordering, "bound of 0.16") in result.reason


def test_an_ordering_never_replaces_what_cannot_be_checked():
    wide = judge(number(), 14.42, 0.06, gap=0.4)
    assert compare.with_ordering(wide, "same").status == compare.CANNOT_SPREAD
    missing = judge(number(value=None), 14.42)
    assert compare.with_ordering(missing, "same").status == compare.CANNOT
    with pytest.raises(OptionError, match="unknown ordering 'better': expected one of same, "):
        compare.with_ordering(wide, "better")


# --- tables ---


ROWS = [
    {"method": "PPN | ours", "psnr": "14.42 ± 0.08", "n": 5},
    {"method": "w/o_D", "psnr": "11.02", "n": None},
]


def test_markdown_table():
    assert compare.markdown_table(ROWS) == (
        "| method | psnr | n |\n"
        "| --- | ---: | ---: |\n"
        "| PPN \\| ours | 14.42 ± 0.08 | 5 |\n"
        "| w/o_D | 11.02 |  |\n"
    )
    assert compare.markdown_table([], ["a", "b"]) == "| a | b |\n| --- | --- |\n"


def test_latex_table():
    assert compare.latex_table(ROWS, ["psnr", "method", "n"]) == (
        "\\begin{tabular}{rlr}\n\\hline\n"
        "psnr & method & n \\\\\n\\hline\n"
        "14.42 $\\pm$ 0.08 & PPN $|$ ours & 5 \\\\\n"
        "11.02 & w/o\\_D &  \\\\\n"
        "\\hline\n\\end{tabular}\n"
    )
    assert "50 \\% \\textbackslash{} \\{\\$\\}" in compare.latex_table([{"a": "50 % \\ {$}"}])


def test_tables_refuse_unknown_columns():
    with pytest.raises(DataError, match=r"row 1 has \['b'\], expected keys of \['a'\]"):
        compare.markdown_table([{"a": 1}, {"a": 1, "b": 2}])
    with pytest.raises(DataError, match="a table without rows needs its columns named"):
        compare.latex_table([])


def test_noise_alone_reproduces_no_number_without_a_column():
    paper = compare.load_paper()
    ratio = paper["claims.mid_frequency_attenuation_max"]
    assert (ratio.value, ratio.unit) == (3.7, "ratio")

    def status(mean, sd):
        return compare.verdict(ratio, mean, sd, 5, column_gap=None, profile="paper").status

    # half of the distance from a ratio of 1 is 1.35
    assert status(4.0, 0.6) == compare.REPRODUCED
    assert status(4.0, 0.7) == compare.CANNOT_SPREAD
    # beyond the bound there is a difference, however wide the bound
    assert status(5.2, 0.7) == compare.DIFFERS
    gain = paper["claims.v1_psnr_percent"]
    judged = compare.verdict(gain, -1.5, 4.6, 5, column_gap=None, profile="paper")
    assert judged.status == compare.CANNOT_SPREAD
    assert judged.reason.endswith("which is not below half the distance from no effect of 5.4")
