"""Settings: every one is described, read from its variable, and kept from the log where it is secret."""

import pytest
from pydantic import ValidationError

from robxfer_core.settings import Settings


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_with_nothing_set_all_is_in_the_data_folder(tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/ledger.sqlite"
    assert settings.broker_url == f"filesystem://{tmp_path}/broker"
    assert settings.store_url == f"file://{tmp_path}/store"
    assert settings.cache_dir == tmp_path / "cache"
    assert settings.work_dir == tmp_path / "work"


def test_lists_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("ROBXFER_QUEUES", "gpu, cpu")
    monkeypatch.setenv("ROBXFER_GPUS", "0,1")
    monkeypatch.setenv("ROBXFER_SLOTS", "2")
    settings = Settings()
    assert (settings.queues, settings.gpus, settings.slots) == (["gpu", "cpu"], [0, 1], 2)


def test_secrets_are_not_shown():
    shown = repr(
        Settings(
            database_url="postgresql+psycopg://u:hush@h/d",
            broker_url="redis://:hush@h",
            s3_secret_key="hush",  # type: ignore[arg-type]
        )
    )
    assert "hush" not in shown


def test_slots_need_their_gpus():
    with pytest.raises(ValidationError, match="more GPUs than the 1 given"):
        Settings(slots=2, gpus=[0])


def test_slots_are_as_many_as_the_gpus_are_enough_for():
    assert Settings(gpus=[0, 1, 2, 3], gpus_per_slot=2, queues=["gpu2"]).slots == 2
    assert Settings(gpus=[0, 1, 2], queues=["gpu"]).slots == 3
    with pytest.raises(ValidationError, match="gpus: got 0, 0; takes each once"):
        Settings(gpus=[0, 0], queues=["gpu"])


@pytest.mark.parametrize("queue", ["lab1", "lab12", "lab9", "Lab", "2"])
def test_a_queue_in_which_no_job_can_wait_is_refused(queue):
    with pytest.raises(ValidationError, match=f"queues: got {queue}; takes"):
        Settings(queues=["cpu", queue])


@pytest.mark.parametrize(("each", "queues"), [(2, ["gpu2", "big"]), (2, ["gpu4"]), (1, ["gpu", "gpu2"]), (1, ["lab2"])])
def test_a_worker_serves_the_queues_that_its_slots_are_made_for(each, queues):
    with pytest.raises(ValidationError, match=f"queues: got {queues[-1]}; takes"):
        Settings(gpus=[0, 1], gpus_per_slot=each, queues=queues)
    Settings(queues=queues)  # without GPUs it computes with as many processes


def test_secrets_may_be_files(monkeypatch, tmp_path):
    (tmp_path / "robxfer_database_url").write_text("postgresql+psycopg://u:hush@h/d\n")
    (tmp_path / "robxfer_s3_secret_key").write_text("of the file")
    monkeypatch.setenv("ROBXFER_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ROBXFER_S3_SECRET_KEY", "of the environment")
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://u:hush@h/d"
    assert settings.s3_secret_key.get_secret_value() == "of the environment"


def test_a_folder_of_secrets_that_is_not_there_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBXFER_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(ValidationError, match="secrets_dir"):
        Settings()


POSTGRES = "postgresql+psycopg://h/d"


def test_only_what_is_on_this_machine_alone_is_open_to_all():
    assert Settings().access == "open"
    assert Settings(host="::1").access == "open"
    assert Settings(host="127.0.0.1", access="tokens").access == "tokens"
    assert Settings(host="0.0.0.0").access == "tokens"
    assert Settings(database_url=POSTGRES).access == "tokens"
    assert Settings(database_url=POSTGRES, access="open").access == "open"
    for host in ("0.0.0.0", "::", "192.168.1.2", "lab.example"):
        with pytest.raises(ValidationError, match="takes a loopback address as host, and host is"):
            Settings(host=host, access="open")
