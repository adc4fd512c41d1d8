"""The tasks of docs/guides/howto/celery.md. They write to the folder of the schedule, so that a test can read it."""

import os
import time
from pathlib import Path

from celery import Celery

celery = Celery("reports", broker=os.environ["CELERY_BROKER_URL"])
celery.conf.task_acks_late = True
celery.conf.beat_schedule = {"tick": {"task": "reports.tasks.tick", "schedule": 2.0}}


@celery.task
def tick() -> None:
    Path("celery/ticks").touch()


@celery.task
def report(name: str, seconds: float) -> None:
    time.sleep(seconds)
    with Path("celery/reports").open("a") as stream:
        stream.write(f"{name} {os.environ['WEBAPP_RELEASE']}\n")
