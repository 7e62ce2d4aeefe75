"""The API's description of itself tells of every problem that it may answer. (`make fuzz` holds it to that.)"""

from typing import Any

import httpx2

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}


def test_every_route_tells_of_its_problems(service: Any) -> None:
    schema = httpx2.get(f"{service.url}/openapi.json").json()
    assert {"ProblemView", "FieldError"} <= schema["components"]["schemas"].keys()
    assert "HTTPValidationError" not in str(schema)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            for status in ("401", "403", "421", "429", "503"):
                assert (PROBLEM.items() <= answers.get(status, {}).get("content", {}).items()) is (path != "/healthz")
            assert ("security" in operation) is (path != "/healthz")
            assert ("404" in answers) is ("{" in path)
            assert ("requestBody" in operation) <= {"413", "415", "422"}.issubset(answers)


def test_a_wrong_method_is_told_every_right_one(service: Any) -> None:
    answer = httpx2.request("PUT", f"{service.url}/v1/experiments")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
