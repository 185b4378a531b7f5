"""How a report says that its numbers were come by."""

from planted import build, pair, study, timing_rows


def test_speeds_are_explained_where_some_were_measured():
    planned = study("lstm", "gru")
    timed = build(planned, pair(0.03, 0.02), timing_rows("lstm", 0.1) + timing_rows("gru", 0.09))
    assert "the p (Holm) of a speed is a sign test's over rounds" in timed.method
    assert "for each way of running by itself" in timed.method
    assert "peed" not in build(planned, pair(0.03, 0.02)).method
