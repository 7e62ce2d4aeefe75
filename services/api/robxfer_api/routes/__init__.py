"""The routes, by what they are about."""

from fastapi import APIRouter

from . import artifacts, experiments, health, imports, job_kinds, jobs, pages, tokens

ALL: tuple[APIRouter, ...] = (
    experiments.router,
    jobs.router,
    artifacts.router,
    imports.router,
    job_kinds.router,
    tokens.router,
    health.router,
    pages.router,
)
