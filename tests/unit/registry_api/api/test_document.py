"""The registry's OpenAPI document, put to the test by Schemathesis: no route breaks, and none answers what the document does not say."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from registry_api.main import create_app
from registry_api.people.pace import Pace
from registry_api.people.roles import Role
from tests.fakes.centre_home import SERVICE_TOKEN
from tests.unit.registry_api.conftest import Registry

TOO_LARGE = 413
"""The rim refuses a long body before anybody looks what it is; that is the end of such a case."""

CALLERS: tuple[tuple[str, Role], ...] = (
    ("/v1/registry/quality", Role.HOSPITAL),
    ("/v1/registry/releases/{number}/body.json", Role.AUDITOR),
    ("/v1/registry", Role.MINISTRY),
    ("/v1/models", Role.SERVICE),
    ("/v1/sites", Role.COORDINATOR),
    ("/v1/credentials", Role.COORDINATOR),
    ("/v1/readers", Role.COORDINATOR),
    ("/v1", Role.READER),
)
"""Who asks, by the beginning of the path: somebody whom the route lets in, so that more than a refusal is tried."""


@pytest.fixture(scope="module")
def registry(published) -> Registry:
    opened, _ = published
    object.__setattr__(opened.runtime, "pace", Pace(1_000_000))
    return opened


@pytest.fixture(scope="module")
def headers(registry: Registry) -> Callable[[str], dict[str, str]]:
    keys = {role: registry.key_of(role)["Authorization"] for role in Role if role not in (Role.SERVICE, Role.HOSPITAL)}
    keys[Role.SERVICE] = f"Bearer {SERVICE_TOKEN}"
    keys[Role.HOSPITAL] = f"Bearer {registry.add(Role.HOSPITAL, site='north-a').api_key}"
    return lambda path: {"Authorization": keys[next(role for start, role in CALLERS if path.startswith(start))]}


@pytest.fixture(scope="module")
def operations(registry: Registry) -> list[Any]:
    app = create_app(registry.runtime)

    async def served(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "no lifespan: what runs in the background would outlive the database"
        await app(scope, receive, send)

    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (group dev)")
    document = schemathesis.openapi.from_asgi("/v1/openapi.json", served)
    return [found.ok() for found in document.include(path_regex="^/v1/").get_all_operations()]


def put_to_the_test(operation: Any, headers: dict[str, str], *, examples: int) -> None:
    """Ask what the document allows and what it does not. That a well-formed question may still be too fine, or of no place, is no failure."""
    import schemathesis

    excluded = [schemathesis.specs.openapi.checks.positive_data_acceptance]
    asks_for_something = {"parameters", "requestBody"} & operation.definition.raw.keys()
    for mode in schemathesis.GenerationMode if asks_for_something else [schemathesis.GenerationMode.POSITIVE]:

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call(headers=headers)
            if answer.status_code != TOO_LARGE:
                case.validate_response(answer, headers=headers, excluded_checks=excluded)

        ask()


def test_the_document_names_every_route_of_the_api(operations: list[Any]) -> None:
    labels = {operation.label for operation in operations}
    assert {"GET /v1/registry/counts", "GET /v1/registry/releases/{number}/export.csv", "POST /v1/enrolments"} <= labels
    assert len(labels) > 30


def test_what_is_json_is_not_said_to_be_text(registry: Registry) -> None:
    paths = create_app(registry.runtime).openapi()["paths"].values()
    answers = [answer for path in paths for operation in path.values() for answer in operation["responses"].values()]
    kinds = [kind for answer in answers for kind in answer.get("content", {}).items()]
    assert [kind for kind, schema in kinds if kind.endswith("json") and schema["schema"].get("type") == "string"] == []
    assert any(kind == "application/fhir+json" for kind, _ in kinds)


@pytest.mark.slow
def test_no_route_breaks_or_answers_what_the_document_does_not_say(operations: list[Any], headers) -> None:
    for operation in operations:
        put_to_the_test(operation, headers(operation.path), examples=3)


@pytest.mark.nightly
def test_no_route_breaks_however_long_one_asks(operations: list[Any], headers) -> None:
    for operation in operations:
        put_to_the_test(operation, headers(operation.path), examples=100)
