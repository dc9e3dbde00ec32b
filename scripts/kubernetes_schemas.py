"""Writes the schemas against which tests hold manifests, as kubeconform wants them: FOLDER/KIND-GROUP-VERSION.json.

    kubernetes_schemas.py FOLDER KUBERNETES_VERSION KEDA_FOLDER OPERATOR_FOLDER

Kubernetes' own come with the package kubernetes-validate, whose references name a server; here they name the file. Those of KEDA and of
the Prometheus operator are taken out of their custom resource definitions, and made as strict: a field that is not known is a mistake.
"""

import importlib.util
import json
import pathlib
import sys

import yaml

WANTED_OWN = [
    "configmap-v1",
    "deployment-apps-v1",
    "networkpolicy-networking-v1",
    "poddisruptionbudget-policy-v1",
    "service-v1",
]
WANTED_CUSTOM = ["scaledobjects", "triggerauthentications", "podmonitors"]


def own(folder, version):
    # Not imported: what it would import is not needed.
    package = pathlib.Path(importlib.util.find_spec("kubernetes_validate").origin).parent
    source = package / "kubernetes-json-schema" / f"v{version}-local-strict"
    for name in ["_definitions", *WANTED_OWN]:
        text = (source / f"{name}.json").read_text()
        # Those of the definitions themselves stay in their file.
        if name != "_definitions" and '"/api/_definitions.json#' not in text:
            sys.exit(f"{name}: references are not as they were")
        schema = json.loads(text.replace('"/api/_definitions.json#', '"_definitions.json#'))
        # Against it, a reference would be asked of a server.
        schema.pop("$id", None)
        (folder / f"{name}.json").write_text(json.dumps(schema))


def strict(schema):
    """Forbids unknown fields wherever the known ones are listed; a server would drop them silently."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: strict(value) for name, value in schema.items()}
    listed = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if listed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    return schema


def custom(folder, path):
    # Each file is one definition; others hold an unquoted `=`, which this reader does not take.
    definition = yaml.safe_load(path.read_text())
    kind, group = definition["spec"]["names"]["kind"], definition["spec"]["group"]
    for version in definition["spec"]["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # Its fields are the API machinery's, and are checked with every other kind.
        schema["properties"]["metadata"] = {"type": "object"}
        name = f"{kind}-{group.split('.')[0]}-{version['name']}".lower()
        (folder / f"{name}.json").write_text(json.dumps(schema))


def main():
    folder, version = pathlib.Path(sys.argv[1]), sys.argv[2]
    own(folder, version)
    for plural in WANTED_CUSTOM:
        found = [path for place in sys.argv[3:] for path in pathlib.Path(place).glob(f"*_{plural}.yaml")]
        if len(found) != 1:
            sys.exit(f"{plural}: found {found}")
        custom(folder, found[0])


main()
