from harness.report import colors, drawing


def test_the_first_arms_have_the_colours_of_the_figures():
    class Arm:
        def __init__(self, name):
            self.name, self.is_baseline = name, name == "gru"

    arms = ["lstm", "gru", "rnn"]
    looks = drawing.palette([Arm(name) for name in arms])
    assert colors.by_arm(arms, "gru") == {name: look.color for name, look in looks.items()}
    assert colors.by_arm(arms, "gru")["gru"] == "#000000"


def test_many_arms_have_different_colours_and_conditions_repeat_none():
    arms = [f"arm {i}" for i in range(22)]
    found = colors.by_arm(arms * 2, arms[0])
    assert list(found) == arms and len(set(found.values())) == 22
