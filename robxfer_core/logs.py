"""Logs: a JSON object a line, of our own lines and of the libraries'."""

import logging
from typing import TextIO

import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, add_log_level
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.tracebacks import ExceptionDictTransformer


def log_to(stream: TextIO) -> None:
    """All lines of this process go to the stream from now on."""
    chain = [
        structlog.contextvars.merge_contextvars,
        add_log_level,
        TimeStamper(fmt="iso"),
        ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),  # a variable may hold a secret
    ]
    structlog.configure(
        processors=[*chain, JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[add_logger_name, *chain],
            processors=[ProcessorFormatter.remove_processors_meta, JSONRenderer()],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
