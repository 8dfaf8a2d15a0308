from typer.testing import CliRunner

from genoformer.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_every_file_is_checked_and_the_exit_code_speaks_for_all(tmp_path):
    (tmp_path / "good.fastq").write_text("@a\nACG\n+\nIII\n")
    (tmp_path / "cut.fastq").write_text("@a\nACG\n+\nII")
    (tmp_path / "rows.tsv").write_text("a\n")
    result = run(tmp_path / "cut.fastq", tmp_path / "good.fastq", tmp_path / "rows.tsv")
    assert result.exit_code == 1
    assert result.stdout == (f"{tmp_path}/good.fastq: whole, 1 read, 3 bases\n{tmp_path}/rows.tsv: whole, 0 rows\n")
    assert result.stderr.startswith(f"genoformer: error: {tmp_path}/cut.fastq: cannot be read as FASTQ")
    assert result.stderr.count("\n") == 1


def test_a_folder_of_whole_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "good.fastq").write_text("@a\nACG\n+\nIII\n")
    (tmp_path / "notes.txt").write_text("not ours")
    result = run(tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path}/sub/good.fastq: whole, 1 read, 3 bases\n"
