"""``make results``: a page for each study whose records are kept."""

import result_pages


def test_a_page_is_written_from_the_records(tmp_path):
    path = result_pages.write("quickstart", tmp_path)
    assert path == tmp_path / "quickstart" / "report.html"
    text = path.read_text(encoding="utf-8")
    assert "quickstart" in text and text.rstrip().endswith("</html>")
