"""Runs several actors against one store, one call at a time, in an order that the test chooses."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Interleaving"]

_STUCK_S = 30.0


class Interleaving:
    """Grants calls to a port one by one; each actor is a thread that waits at each of its calls.

    Args:
        choose: Returns which of so many waiting actors goes on.
    """

    def __init__(self, choose: Callable[[int], int]) -> None:
        self._choose = choose
        self._changed = threading.Condition()
        self._running: str | None = None
        self._waiting: set[str] = set()
        self._alive: set[str] = set()
        self.results: dict[str, Any] = {}

    def port(self, port: Any) -> Any:
        """Return a port whose calls wait for their turn."""
        return _Port(port, self)

    def run(self, actors: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Run the actors to their ends; return what each returned."""
        self._alive = set(actors)
        threads = [threading.Thread(target=self._act, args=one, name=one[0]) for one in actors.items()]
        for thread in threads:
            thread.start()
        while self._alive:
            with self._changed:
                ready = self._changed.wait_for(lambda: self._waiting == self._alive, _STUCK_S)
                assert ready, "an actor hangs"
                if not self._alive:
                    break
                waiting = sorted(self._waiting)
                self._running = waiting[self._choose(len(waiting))]
                self._waiting.discard(self._running)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._running is None, _STUCK_S)
        for thread in threads:
            thread.join(_STUCK_S)
        return self.results

    def wait_turn(self) -> None:
        """Wait until the calling actor is chosen; other threads do not wait."""
        name = threading.current_thread().name
        with self._changed:
            if name not in self._alive:
                return
            self._stop(name)
            self._waiting.add(name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._running == name, _STUCK_S), "no turn came"

    def _act(self, name: str, actor: Callable[[], Any]) -> None:
        try:
            self.wait_turn()
            self.results[name] = actor()
        finally:
            with self._changed:
                self._alive.discard(name)
                self._stop(name)
                self._changed.notify_all()

    def _stop(self, name: str) -> None:
        if self._running == name:
            self._running = None


class _Port:
    def __init__(self, port: Any, interleaving: Interleaving) -> None:
        self._port, self._interleaving = port, interleaving

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._port, method)

        def in_turn(*args: Any, **more: Any) -> Any:
            self._interleaving.wait_turn()
            return call(*args, **more)

        return in_turn
