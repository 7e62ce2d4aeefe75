"""Routes, by the resource that they are about."""

from fastapi import APIRouter

from . import artifacts, audit, datasets, experiments, health, job_kinds, jobs, models, pages, tokens, workers

ALL: tuple[APIRouter, ...] = (
    experiments.router,
    jobs.router,
    artifacts.router,
    datasets.router,
    models.router,
    workers.router,
    job_kinds.router,
    tokens.router,
    audit.router,
    health.router,
    pages.router,
)
"""All routers, in the order in which /openapi.json lists them."""
