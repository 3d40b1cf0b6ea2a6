"""Authorization that is not a key: signatures, tokens, and how they are renewed."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
import threading
import time

import pytest

from deluge_sync import signing
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.signing import FRESH, SPENT, STALE, Renewed, signer_of
from deluge_sync.values.errors import (
    AuthError,
    CallCancelledError,
    ConfigError,
    DeadlineExceededError,
    TransientError,
)
from deluge_sync.values.model import Provider
from deluge_sync.values.wire import HttpRequest

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BEDROCK = Provider(
    "bedrock",
    auth="sigv4",
    auth_service="bedrock",
    base_url_vars={"region": ("AWS_REGION",)},
)
FORM = (("Content-Type", "application/x-www-form-urlencoded"), ("X-Own", "not signed"))
URL = "https://example.amazonaws.com/"
TEST_SUITE = {
    "get-vanilla": (
        HttpRequest("GET", URL, (), b""),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        HttpRequest("GET", URL + "?Param2=value2&Param1=value1", (), b""),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-vanilla": (
        HttpRequest("POST", URL, (), b""),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-x-www-form-urlencoded": (
        HttpRequest("POST", URL, FORM, b"Param1=value1"),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}
"""From AWS's published test suite for Signature Version 4."""


def soon() -> float:
    return time.monotonic() + 30


def headers_of(credentials) -> dict[str, str]:
    return {item.header: item.prefix + item.secret.reveal() for item in credentials}


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """AWS credentials of variables, and of nothing else on this machine."""
    pytest.importorskip("botocore")
    for name in (
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_BEARER_TOKEN_BEDROCK",
    ):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


class TestSigV4:
    """Signature Version 4 through botocore."""

    @pytest.mark.parametrize("name", TEST_SUITE)
    def test_signatures_are_those_that_aws_publishes(self, name, monkeypatch):
        auth = pytest.importorskip("botocore.auth")
        credentials = pytest.importorskip("botocore.credentials")
        moment = datetime.datetime(2015, 8, 30, 12, 36)
        if hasattr(auth, "get_current_datetime"):
            monkeypatch.setattr(auth, "get_current_datetime", lambda *given, **named: moment)
        else:
            pytest.skip("this botocore tells the time in another way")
        request, signature = TEST_SUITE[name]
        keys = credentials.ReadOnlyCredentials(KEY_ID, SECRET, None)
        headers = headers_of(signing.sign(request, keys, "service", "us-east-1"))
        assert headers["X-Amz-Date"] == "20150830T123600Z"
        assert headers["Authorization"].endswith(f"Signature={signature}")
        assert "x-own" not in headers["Authorization"].lower()

    def test_credentials_and_region_come_from_where_botocore_and_the_address_look(self, aws):
        aws.setenv("AWS_SESSION_TOKEN", "session")
        request = HttpRequest("POST", "https://bedrock-runtime.us-east-1.amazonaws.com/", (), b"{}")
        signer = signer_of(BEDROCK)
        headers = headers_of(
            signer.credentials(request, deadline=soon(), cancellation=Cancellation())
        )
        assert "/us-east-1/bedrock/aws4_request" in headers["Authorization"]
        assert headers["X-Amz-Security-Token"] == "session"

    def test_a_signature_shows_no_secret(self, aws):
        request = HttpRequest("POST", URL, (), b"{}")
        given = signer_of(BEDROCK).credentials(
            request, deadline=soon(), cancellation=Cancellation()
        )
        assert "Signature" not in repr(given)
        assert KEY_ID not in repr(given)

    def test_missing_credentials_and_a_missing_region_are_named(self, aws):
        request = HttpRequest("POST", URL, (), b"{}")
        aws.delenv("AWS_REGION")
        with pytest.raises(ConfigError, match="AWS_REGION"):
            signer_of(BEDROCK).credentials(request, deadline=soon(), cancellation=Cancellation())
        aws.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(ConfigError, match="AWS_PROFILE"):
            signer_of(BEDROCK).credentials(request, deadline=soon(), cancellation=Cancellation())

    def test_credentials_are_renewed_by_botocore_before_they_end(self, aws):
        botocore = pytest.importorskip("botocore.credentials")
        source = signing.AwsCredentials("us-east-1")
        made = []

        def fetched(minutes):
            made.append(minutes)
            now = datetime.datetime.now(datetime.timezone.utc)
            return {
                "access_key": f"key {len(made)}",
                "secret_key": "secret",
                "token": "token",
                "expiry_time": (now + datetime.timedelta(minutes=minutes)).isoformat(),
            }

        source._found = botocore.RefreshableCredentials.create_from_metadata(
            fetched(5), lambda: fetched(60), "test"
        )
        assert source.state() == SPENT
        source.renew()
        assert (source.state(), source.keys.access_key) == (FRESH, "key 2")


class TestExtras:
    """What is not installed is named."""

    @pytest.mark.parametrize(
        ("auth", "module", "extra"),
        [("sigv4", "botocore", "bedrock"), ("google", "google.auth", "vertex")],
    )
    def test_a_missing_package_names_its_extra(self, auth, module, extra, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"deluge-sync\[{extra}\]"):
            signer_of(Provider("p", auth=auth))

    def test_a_provider_with_keys_needs_no_signer(self):
        assert signer_of(Provider("p")) is None

    def test_importing_the_library_imports_neither(self):
        code = (
            "import sys, deluge_sync, deluge_sync.client, deluge_sync.signing; "
            "print(sorted({name.split('.')[0] for name in sys.modules} & {'botocore', 'google'}))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stderr


class Source:
    """Credentials whose renewal waits until it is let go."""

    def __init__(self, state: str = SPENT, error: BaseException | None = None) -> None:
        self.now = state
        self.error = error
        self.renewals = 0
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def state(self) -> str:
        return self.now

    def renew(self) -> None:
        self.renewals += 1
        self.begun.set()
        self.let_go.wait(30)
        if self.error is not None:
            raise self.error
        self.now = FRESH


class TestRenewal:
    """One renewal for all threads, which holds up nobody for longer than he may wait."""

    def test_many_threads_that_need_credentials_at_once_cause_one_renewal(self):
        source = Source()
        renewed, done = Renewed(source), []

        def ask():
            renewed.ensure(deadline=soon(), cancellation=Cancellation())
            done.append(source.state())

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        source.begun.wait(30)
        source.let_go.set()
        for thread in threads:
            thread.join(30)
        assert (done, source.renewals) == ([FRESH] * 16, 1)

    def test_stale_credentials_are_renewed_while_calls_go_on_with_them(self):
        source = Source(STALE)
        Renewed(source).ensure(deadline=-math.inf, cancellation=Cancellation())
        assert source.begun.wait(30)
        source.let_go.set()

    def test_fresh_credentials_start_nothing(self):
        source = Source(FRESH)
        Renewed(source).ensure(deadline=-math.inf, cancellation=Cancellation())
        assert source.renewals == 0

    def test_a_call_waits_for_credentials_no_longer_than_its_deadline(self):
        source = Source()
        with pytest.raises(DeadlineExceededError, match="credentials"):
            Renewed(source).ensure(deadline=time.monotonic() - 1, cancellation=Cancellation())
        source.let_go.set()

    def test_a_cancelled_call_stops_waiting_for_credentials_at_once(self):
        source, cancellation = Source(), Cancellation()
        threading.Thread(target=lambda: (source.begun.wait(30), cancellation.cancel())).start()
        with pytest.raises(CallCancelledError):
            Renewed(source).ensure(deadline=soon(), cancellation=cancellation)
        source.let_go.set()

    def test_a_failed_renewal_fails_those_who_wait_and_the_next_one_begins_anew(self):
        source = Source(error=ValueError("the secret is abc"))
        source.let_go.set()
        renewed = Renewed(source)
        with pytest.raises(AuthError) as caught:
            renewed.ensure(deadline=soon(), cancellation=Cancellation())
        assert "abc" not in str(caught.value)
        assert not caught.value.may_have_been_sent
        source.error = None
        renewed.ensure(deadline=soon(), cancellation=Cancellation())
        assert source.renewals == 2

    def test_a_renewal_that_failed_by_the_network_may_be_tried_again(self):
        exceptions = pytest.importorskip("botocore.exceptions")
        error = exceptions.ConnectTimeoutError(endpoint_url="https://sts.amazonaws.com")
        source = Source(error=error)
        source.let_go.set()
        with pytest.raises(TransientError):
            Renewed(source).ensure(deadline=soon(), cancellation=Cancellation())

    def test_a_renewal_that_hangs_is_given_up_for_a_new_one(self):
        now = [0.0]
        source = Source()
        renewed = Renewed(source, clock=lambda: now[0])
        with pytest.raises(DeadlineExceededError):
            renewed.ensure(deadline=0.0, cancellation=Cancellation())
        now[0] = signing.LONGEST_RENEWAL + 1
        source.let_go.set()
        renewed.ensure(deadline=now[0] + 30, cancellation=Cancellation())
        assert source.renewals == 2


class TestGoogle:
    """Tokens through google-auth."""

    @pytest.fixture
    def found(self, monkeypatch):
        """Credentials whose tokens count up, as google-auth finds them."""
        auth = pytest.importorskip("google.auth")
        pytest.importorskip("google.auth.transport.requests")
        credentials = pytest.importorskip("google.auth.credentials")

        class Counting(credentials.Credentials):
            made = 0

            def refresh(self, request):
                self.made += 1
                self.token = f"token {self.made}"
                self.expiry = datetime.datetime.now(datetime.timezone.utc).replace(
                    tzinfo=None
                ) + datetime.timedelta(minutes=60)

        found = Counting()
        monkeypatch.setattr(auth, "default", lambda **options: (found, "project"))
        return found

    def given(self, signer):
        request = HttpRequest("POST", "https://aiplatform.googleapis.com/", (), b"{}")
        return headers_of(signer.credentials(request, deadline=soon(), cancellation=Cancellation()))

    def test_a_token_is_fetched_once_and_again_when_it_has_ended(self, found):
        signer = signer_of(Provider("vertex", auth="google"))
        assert self.given(signer) == {"Authorization": "Bearer token 1"}
        assert self.given(signer) == {"Authorization": "Bearer token 1"}
        found.expiry = datetime.datetime(2020, 1, 1)
        assert self.given(signer) == {"Authorization": "Bearer token 2"}

    def test_the_project_that_pays_goes_with_the_token(self, found):
        found._quota_project_id = "payer"
        signer = signer_of(Provider("vertex", auth="google"))
        assert self.given(signer)["x-goog-user-project"] == "payer"

    def test_no_credentials_say_how_to_get_some(self, monkeypatch, tmp_path):
        auth = pytest.importorskip("google.auth")
        exceptions = pytest.importorskip("google.auth.exceptions")

        def nothing(**options):
            raise exceptions.DefaultCredentialsError("none")

        monkeypatch.setattr(auth, "default", nothing)
        with pytest.raises(ConfigError, match="application-default login"):
            self.given(signer_of(Provider("vertex", auth="google")))

    def test_a_service_account_file_becomes_a_token(self, monkeypatch, tmp_path):
        """Through google-auth's own code: it signs a claim and trades it at the token's address."""
        pytest.importorskip("google.oauth2.service_account")
        transport = pytest.importorskip("google.auth.transport.requests")
        rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
        serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        account = {
            "type": "service_account",
            "client_email": "a@example.com",
            "private_key": pem,
            "private_key_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token",
            "project_id": "project",
        }
        path = tmp_path / "account.json"
        path.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

        class Answered:
            status = 200
            headers = ()
            data = b'{"access_token": "ya29.token", "expires_in": 3600}'

        monkeypatch.setattr(transport.Request, "__call__", lambda self, url, **options: Answered())
        signer = signer_of(Provider("vertex", auth="google"))
        assert self.given(signer) == {"Authorization": "Bearer ya29.token"}
