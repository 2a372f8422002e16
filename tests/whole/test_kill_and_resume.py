"""A handful of the kills of kill_and_resume.py; docs/kills.json is the report of many."""

import kill_and_resume


def test_a_killed_pipeline_continues_to_the_same_bytes(tmp_path):
    targets = kill_and_resume.TARGETS[1:4]
    report = kill_and_resume.run(
        kills=5,
        targets=targets,
        sentences=900,
        seed=3,
        folder=tmp_path.resolve(),
        asked=[target.stage for target in targets],  # what scores them is killed in the long run
    )
    assert report.faults == []
    assert report.kills.total() == 5
    assert report.rounds >= 2
    assert report.units_finished_before_kills > 0
