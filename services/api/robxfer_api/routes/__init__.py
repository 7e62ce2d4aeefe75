"""The routes, by what they are about."""

from fastapi import APIRouter

from . import access, artifacts, experiments, health, jobs, lists, uploads, web

ALL: tuple[APIRouter, ...] = (
    experiments.router,
    jobs.router,
    artifacts.router,
    uploads.router,
    lists.router,
    access.router,
    health.router,
    web.router,
)
