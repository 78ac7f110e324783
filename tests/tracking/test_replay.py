import pytest
from talkies.tracking.spool import Tracker
from talkies.tracking.replay import replay
from talkies.tracking.store import open_client

def test_all(store, config, tmp_path):
    run = tmp_path/"run"
    t = Tracker(run, config, name="n", store=store, artifact_root=tmp_path/"art")
    t.params({"a":1}); t.tags({"b":2})
    for i in range(10): t.metrics({"loss/x": i, "y": float("nan") if i==3 else 1.0}, i)
    t.metrics({"bad;key$": 1.0}, 0)
    (tmp_path/"f.txt").write_text("hello")
    t.artifact(tmp_path/"f.txt","recipe")
    (tmp_path/"f.txt").unlink()
    t.status("FINISHED"); t.close()
    r = replay(run)
    print(r, r.refused)
    c = open_client(store)
    run = c.get_run(r.run_id)
    print(run)
    print(c.get_metric_history(r.run_id, "y"))
    assert 0
