"""The routes, by what they are about."""

from fastapi import APIRouter

from . import access, artifacts, experiments, health, jobs, lists, web

ALL: tuple[APIRouter, ...] = (
    experiments.router,
    jobs.router,
    artifacts.router,
    lists.router,
    access.router,
    health.router,
    web.router,
)
