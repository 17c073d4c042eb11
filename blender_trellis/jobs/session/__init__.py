"""The session: jobs, backend and tasks while the add-on is enabled. The only mutable state is in `state`.

Everything here runs on Blender's main thread. No reference to Blender's data outlives a tick, so that undo
and loading files may do what they like in the meantime.
"""

from ..status import Growing, Listed, Status
from .asking import (
    coming_places,
    cut_out,
    growing,
    held,
    is_being_edited,
    left_jobs,
    listed_jobs,
    remedy,
    status,
)
from .backend import backend_python, has_backend, is_running, known_devices, needs_repair
from .choosing import candidates, discard_candidates, finish_picked, next_candidate, pick
from .doing import (
    ask_cut_out,
    cancel,
    continue_left,
    discard_left,
    dismiss,
    forget,
    move,
    refuse_cut_out,
    resume,
    retry,
    submit,
    tell_fault,
)
from .life import begin, end
from .models import known_models, model_info
from .tasks import (
    backend_health,
    cancel_task,
    change_models,
    install_backend,
    remove_backend,
    run_self_test,
    stop_backend,
    task,
)
from .timer import pump_until_done

__all__ = [
    "Growing",
    "Listed",
    "Status",
    "ask_cut_out",
    "backend_health",
    "backend_python",
    "begin",
    "cancel",
    "cancel_task",
    "candidates",
    "change_models",
    "coming_places",
    "continue_left",
    "cut_out",
    "discard_candidates",
    "discard_left",
    "dismiss",
    "end",
    "finish_picked",
    "forget",
    "growing",
    "has_backend",
    "held",
    "install_backend",
    "is_being_edited",
    "is_running",
    "known_devices",
    "known_models",
    "left_jobs",
    "listed_jobs",
    "model_info",
    "move",
    "needs_repair",
    "next_candidate",
    "pick",
    "pump_until_done",
    "refuse_cut_out",
    "remedy",
    "remove_backend",
    "resume",
    "retry",
    "run_self_test",
    "status",
    "stop_backend",
    "submit",
    "task",
    "tell_fault",
]
