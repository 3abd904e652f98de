"""Kept results: found again while what they rest on is the same, and computed anew as soon as it is not."""

from pathlib import Path

import pytest

from bench.kept import Kept, code_of

A = "from pkg import b\n\ndef a():\n    return b.c()\n"
B = "def c():\n    from pkg.deep.d import D\n    return D\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`pkg.a` imports `pkg.b`, which imports `pkg.deep.d` inside a function; `pkg.other` is imported by nobody."""
    for name, text in {"a": A, "b": B, "deep/d": "D = 1\n", "other": "X = 1\n"}.items():
        path = tmp_path / "pkg" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text"), [("a", A + "y = 1\n"), ("b", B.replace("return D", "return D + 1")), ("deep/d", "D = 2\n")]
)
def test_code_changes_with_whatever_is_imported_at_any_depth(root: Path, file: str, text: str) -> None:
    before = code_of("pkg.a", root)
    (root / "pkg" / f"{file}.py").write_text(text, encoding="utf-8")
    assert code_of("pkg.a", root) != before


@pytest.mark.parametrize(("file", "text"), [("b", "# why\n" + B.replace("\n", "\n\n")), ("other", "X = 2\n")])
def test_code_does_not_change_with_comments_layout_and_other_modules(root: Path, file: str, text: str) -> None:
    before = code_of("pkg.a", root)
    (root / "pkg" / f"{file}.py").write_text(text, encoding="utf-8")
    assert code_of("pkg.a", root) == before


def test_the_code_of_an_arm_is_all_that_trains_and_tests_it() -> None:
    code = code_of("bench.arms").decode()
    for module in (
        "bench.patients", "client.ledger.account", "client.ledger.formulas", "client.train.noise", "client.train.private",
        "client.train.summand", "models.body", "models.insertion", "models.lesion", "models.loss", "models.lungs", "models.net",
        "models.phantom", "models.scanner", "models.scored", "models.slabs", "models.weak", "strategies.securesum.grid",
    ):  # fmt: skip
        assert f'"{module}"' in code, module
    assert '"bench.table"' not in code  # how results are written down changes none


def test_a_result_is_found_again_by_another_process_and_not_under_another_key(tmp_path: Path) -> None:
    path, computed = tmp_path / "x" / "kept.jsonl", []

    def compute() -> dict[str, object]:
        computed.append(1)
        return {"n": len(computed)}

    assert Kept(path, [b"a", b"b"]).get("one", compute) == {"n": 1}
    assert Kept(path, [b"a", b"b"]).get("one", compute) == {"n": 1}
    assert Kept(path, [b"a", b"b"]).get("two", compute) == {"n": 2}
    assert Kept(path, [b"ab"]).get("one", compute) == {"n": 3}
