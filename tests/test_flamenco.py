"""The Flamenco job type, run by Node with what the manager documents of its interface.

https://flamenco.blender.org/usage/job-types/: a JOB_TYPE with settings, and compileJob, which authors tasks.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "flamenco" / "trellis_pictures.js"
MANAGER = """
const made = [];
const author = {
    Task(name, type) {
        if (arguments.length !== 2) throw new Error("a task has a name and a type");
        const types = ["blender", "ffmpeg", "file-management", "misc"];
        if (!types.includes(type)) throw new Error("task type " + type);
        if (typeof name !== "string" || !name) throw new Error("a task has no name");
        return {
            name, type, commands: [], needs: [],
            addCommand(command) {
                if (!command.isCommand) throw new Error("not a command");
                this.commands.push(command);
            },
            addDependency(task) {
                if (!task.commands) throw new Error("not a task");
                this.needs.push(task);
            },
        };
    },
    Command(name, parameters) {
        if (name !== "exec") throw new Error("command " + name);
        const keys = Object.keys(parameters).sort().join();
        if (keys !== "args,exe") throw new Error("parameters of exec: " + keys);
        if (!parameters.args.every((one) => typeof one === "string")) throw new Error("arguments are texts");
        return { isCommand: true, name, parameters };
    },
};
function compiled(settings) {
    const job = { name: "night", type: "trellis-pictures", priority: 50, settings,
                  addTask(task) {
                      if (!task.commands.length) throw new Error("an empty task");
                      made.push(task);
                  } };
    compileJob(job);
    const told = made.map((one) => ({
        name: one.name, type: one.type, needs: one.needs.map((other) => made.indexOf(other)),
        commands: one.commands.map((command) => command.parameters),
    }));
    return told;
}
"""
TYPES = {"string": str, "int32": int, "float": float, "bool": bool}
KEYS = {"key", "type", "subtype", "choices", "propargs", "description", "default", "visible", "required"}
KEYS |= {"editable", "eval", "evalInfo"}
SUBTYPES = {"file_path", "dir_path", "file_name", "hashed_file_path"}
GIVEN = {"pictures": "/farm/my chairs", "output": "/farm/out", "script": "/farm/trellis/scripts/batch.py"}


def evaluated(expression: str) -> object:
    """What an expression gives in a new engine that has read the script. RuntimeError where it throws."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the wheel's first
    node = shutil.which("node", path=beside)
    if node is None:
        pytest.skip("there is no Node")
    told = "process.stdout.write(JSON.stringify(" + expression + "))"
    text = f"(function () {{ {SCRIPT.read_text(encoding='utf-8')}\n{MANAGER}\n{told} }})()"
    done = subprocess.run([node, "-"], input=text, capture_output=True, encoding="utf-8", timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def tasks(**given) -> list[dict]:
    """What is made of settings: what is not given is the default, or missing."""
    defaults = {one["key"]: one["default"] for one in evaluated("JOB_TYPE.settings") if "default" in one}
    return evaluated(f"compiled({json.dumps(defaults | GIVEN | given)})")


def test_settings_are_such_as_the_manager_knows():
    job_type = evaluated("JOB_TYPE")
    assert set(job_type) <= {"label", "description", "settings"} and job_type["label"]
    settings = job_type["settings"]
    assert len({one["key"] for one in settings}) == len(settings)
    for one in settings:
        assert set(one) <= KEYS and one["description"] and not one["description"].endswith("."), one
        assert isinstance(one.get("default", TYPES[one["type"]]()), TYPES[one["type"]]), one
        assert one.get("subtype", "dir_path") in SUBTYPES, one
        assert one.get("visible", True) in (True, False, "web", "submission", "hidden"), one
    required = {one["key"] for one in settings if one.get("required")}
    assert required == GIVEN.keys()  # all else has a default


def test_parts_run_at_once_and_the_report_after_all_of_them():
    made = tasks(tasks=3)
    assert [one["name"] for one in made] == ["objects 1/3", "objects 2/3", "objects 3/3", "report"]
    assert [one["needs"] for one in made] == [[], [], [], [0, 1, 2]]
    assert {one["type"] for one in made} == {"blender"}
    shares = [one["commands"][0]["args"][-3:] for one in made[:3]]
    assert shares == [["--share", f"{part}/3", "--lenient"] for part in (1, 2, 3)]
    assert not {"--share", "--lenient"} & set(made[3]["commands"][0]["args"])


def test_every_command_is_one_that_batch_py_takes():
    import scripts.batch as batch

    made = tasks(
        tasks=2, seeds=4, seed=7, model="starter", python="/farm/python", asset_library="/farm/library"
    )
    for one in made:
        (command,) = one["commands"]
        assert command["exe"] == "{blender}"
        before, after = command["args"][:4], command["args"][4:]
        assert before == ["--background", "--python", GIVEN["script"], "--"]
        options = batch.parser().parse_args(after)
        assert [str(path) for path in options.input] == [GIVEN["pictures"]]
        assert (options.seed, options.seeds, options.resume, options.json) == (7, 4, True, True)
        assert (options.model, options.python) == ("starter", "/farm/python")
        assert str(options.asset_library) == "/farm/library"
    assert batch.parser().parse_args(made[1]["commands"][0]["args"][4:]).share == (2, 2)


def test_no_number_of_tasks_that_makes_no_sense_is_compiled():
    for wrong in (0, -1, 2.5, None):
        with pytest.raises(RuntimeError, match="1 or more"):
            tasks(tasks=wrong)
