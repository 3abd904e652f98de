"""Promoted models: verified before they are stored, stored before they are announced, never loaded."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError, UnavailableError
from protocol.parcel import parse_notice
from protocol.release import Manifest, ReleaseAnnounced, SignedManifest
from protocol.shape import canonical_json
from registry_api.enrolment.invites import create_invite
from registry_api.link.outbox import open_notices
from registry_api.people.roles import Role
from registry_api.promoted.lists import newest_root, take_lists
from registry_api.promoted.service import publish
from registry_api.promoted.shelf import Shelf
from registry_api.promoted.tables import PromotedRow
from server.repository import METADATA, Repository
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN, listing_keys, lists_with, make_centre_home, root_keys, sign_release
from tests.unit.registry_api.conftest import Registry

WEIGHTS = b"weights, not looked into" * 100_000
SERVICE = {"Authorization": f"Bearer {SERVICE_TOKEN}"}


@pytest.fixture
def signed(home: Path, registry: Registry) -> Callable[..., SignedManifest]:
    """Makes a release, and hands the lists that name it over as the centre does."""

    def make(name: str = "ggo@1", weights: bytes = WEIGHTS) -> SignedManifest:
        manifest = Manifest(
            name=name, lineage="ggo", version=int(name.split("@")[1]), parent="ggo@0", architecture="lite-2p5d",
            weights_sha256=hashlib.sha256(weights).hexdigest(), weights_bytes=len(weights),
            created="2026-03-04T12:00:00Z", run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
        )  # fmt: skip
        release = sign_release(home, manifest)
        with registry.runtime.database.writing() as session:
            take_lists(session, lists_with(home, release), first_root=registry.runtime.release_root)
        return release

    return make


def post(client: AsgiClient, signed: SignedManifest, weights: bytes = WEIGHTS, headers: dict[str, str] = SERVICE):
    return client.post(
        "/v1/models", data={"manifest": canonical_json(signed).decode()}, files={"weights": weights}, headers=headers
    )


def notices(registry: Registry, site: str) -> list[bytes]:
    with registry.runtime.database.reading() as session:
        return [row.body for row in open_notices(session, [site])]


def test_a_release_is_stored_and_announced_to_active_sites(registry: Registry, client: AsgiClient, signed) -> None:
    registry.enrol("northport")
    answer = post(client, signed())
    assert (answer.status_code, answer.json()) == (201, {"name": "ggo@1", "sites": ["northport"]})
    assert b"".join(registry.runtime.shelf.chunks(signed().manifest.weights_sha256)) == WEIGHTS
    [notice] = notices(registry, "northport")
    assert parse_notice(notice) == ReleaseAnnounced(signed=signed())


def test_publishing_again_announces_again(registry: Registry, client: AsgiClient, signed) -> None:
    registry.enrol("northport")
    post(client, signed())
    assert post(client, signed()).status_code == 201
    assert len(notices(registry, "northport")) == 2


def test_a_site_that_joins_later_is_told_the_newest_release_of_each_lineage(
    registry: Registry, client: AsgiClient, signed
) -> None:
    for version in (1, 2):
        post(client, signed(f"ggo@{version}"))
        registry.clock.pass_(minutes=1)
    with registry.runtime.database.writing() as session:
        token = create_invite(session, site="lateham", region="XA-N", hours=1, now=registry.clock())
    assert client.post("/v1/enrolments", json=registry.request(token).model_dump()).status_code == 201
    [notice] = notices(registry, "lateham")
    assert parse_notice(notice) == ReleaseAnnounced(signed=signed("ggo@2"))


def test_other_weights_under_a_used_name_are_a_conflict(registry: Registry, client: AsgiClient, signed) -> None:
    post(client, signed())
    answer = post(client, signed(weights=b"other"), b"other")
    assert (answer.status_code, answer.json()["code"]) == (409, "already-exists")


def test_what_is_on_no_list_is_refused_and_leaves_nothing(registry: Registry, client: AsgiClient, signed) -> None:
    registry.enrol("northport")
    good = signed()
    forged = good.model_copy(update={"manifest": good.manifest.model_copy(update={"rounds": 9})})
    answer = post(client, forged)
    assert (answer.status_code, answer.json()["code"]) == (403, "signature-invalid")
    answer = post(client, good, b"swapped")
    assert (answer.status_code, answer.json()["code"]) == (403, "signature-invalid")
    with registry.runtime.database.reading() as session:
        assert session.get(PromotedRow, "ggo@1") is None
    assert notices(registry, "northport") == []
    shelf = registry.runtime.settings.within(registry.runtime.settings.models.directory)
    assert list(shelf.iterdir()) == []


def test_a_manifest_of_another_shape_is_refused(client: AsgiClient) -> None:
    answer = client.post("/v1/models", data={"manifest": "{}"}, files={"weights": b"x"}, headers=SERVICE)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-shape")


def test_only_the_federation_side_publishes(client: AsgiClient, signed, bearer) -> None:
    assert post(client, signed(), headers=bearer(Role.COORDINATOR)).status_code == 403


def test_the_shelf_refuses_names_that_are_no_hash(tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "", "A" * 64):
        with pytest.raises(InvalidInputError):
            Shelf(tmp_path).path(name)


def test_the_shelf_has_only_what_was_put(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as raised:
        next(Shelf(tmp_path).chunks("0" * 64))
    assert raised.value.code is Code.NOT_FOUND


def test_a_wrong_hash_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        Shelf(tmp_path).put([b"a", b"b"], sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_shelf_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError) as raised:
        Shelf(tmp_path / "file").put([b"a"], sha256=hashlib.sha256(b"a").hexdigest())
    assert raised.value.code is Code.DISK_FULL


def test_rolling_back_to_an_older_release_announces_it(registry: Registry, signed) -> None:
    registry.enrol("northport")
    runtime = registry.runtime
    for name in ("ggo@1", "ggo@2", "ggo@1"):
        with runtime.database.writing() as session:
            publish(session, signed(name), [WEIGHTS], shelf=runtime.shelf, now=registry.clock())
    names = [parse_notice(body).signed.manifest.name for body in notices(registry, "northport")]  # type: ignore[union-attr]
    assert names == ["ggo@1", "ggo@2", "ggo@1"]


def test_a_conflict_is_of_its_family(registry: Registry, signed) -> None:
    runtime = registry.runtime
    with runtime.database.writing() as session:
        publish(session, signed(), [WEIGHTS], shelf=runtime.shelf, now=registry.clock())
    with pytest.raises(ConflictError), runtime.database.writing() as session:
        publish(session, signed(weights=b"z"), [b"z"], shelf=runtime.shelf, now=registry.clock())


def test_a_release_needs_lists_before_it(registry: Registry, client: AsgiClient, signed, home: Path) -> None:
    manifest = signed().manifest.model_copy(update={"name": "ggo@2", "version": 2})
    answer = post(client, sign_release(home, manifest))
    assert (answer.status_code, answer.json()["code"]) == (403, "signature-invalid")


def test_a_node_that_joins_is_given_the_newest_root(registry: Registry, client: AsgiClient, home: Path, signed) -> None:
    repository = Repository(home / "catalogue" / METADATA, lambda: datetime.now(UTC))
    keys, roots = listing_keys(home), root_keys(home)
    repository.replace_keys(keys, roots[:2])
    assert client.request("PUT", "/v1/models/lists", json=repository.files(), headers=SERVICE).status_code == 204
    with registry.runtime.database.reading() as session:
        assert newest_root(session, registry.runtime.release_root) == repository.files()["2.root.json"]


class TestLists:
    """What the registry takes as lists: nodes would refuse the rest."""

    def put(self, client: AsgiClient, files: dict[str, str]) -> tuple[int, str]:
        answer = client.request("PUT", "/v1/models/lists", json=files, headers=SERVICE)
        return answer.status_code, answer.json()["code"] if answer.content else ""

    def test_they_are_taken_twice(self, client: AsgiClient, home: Path) -> None:
        repository = Repository(home / "catalogue" / METADATA, lambda: datetime.now(UTC))
        for _ in range(2):
            assert self.put(client, repository.files()) == (204, "")

    @pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
    def test_none_may_be_missing_or_altered(self, client: AsgiClient, home: Path, name: str) -> None:
        files = Repository(home / "catalogue" / METADATA, lambda: datetime.now(UTC)).files()
        without = {other: body for other, body in files.items() if other != name}
        assert self.put(client, without) == (403, "signature-invalid")
        altered = files | {name: files[name].replace('"version":1', '"version":7')}
        assert altered != files
        assert self.put(client, altered) == (403, "signature-invalid")

    def test_another_centres_lists_are_refused(self, client: AsgiClient, tmp_path: Path) -> None:
        make_centre_home(tmp_path / "stranger")
        files = Repository(tmp_path / "stranger" / "catalogue" / METADATA, lambda: datetime.now(UTC)).files()
        assert self.put(client, files) == (403, "signature-invalid")

    def test_older_ones_are_refused(self, client: AsgiClient, home: Path) -> None:
        repository = Repository(home / "catalogue" / METADATA, lambda: datetime.now(UTC))
        old = repository.files()
        repository.refresh(listing_keys(home))
        assert self.put(client, repository.files()) == (204, "")
        assert self.put(client, old) == (403, "signature-invalid")

    def test_a_name_that_is_none_is_refused(self, client: AsgiClient, home: Path) -> None:
        files = Repository(home / "catalogue" / METADATA, lambda: datetime.now(UTC)).files()
        assert self.put(client, files | {"../x.json": "{}"})[0] == 422

    def test_only_the_federation_side_hands_them_over(self, client: AsgiClient, bearer) -> None:
        assert client.request("PUT", "/v1/models/lists", json={}, headers=bearer(Role.COORDINATOR)).status_code == 403
