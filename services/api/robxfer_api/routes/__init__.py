"""The routes, by what they are about."""

from fastapi import APIRouter

from . import artifacts, experiments, health, jobs, lists, web

ALL: tuple[APIRouter, ...] = (
    experiments.router,
    jobs.router,
    artifacts.router,
    lists.router,
    health.router,
    web.router,
)
