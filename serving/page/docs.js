// /openapi.json as a page: what can be asked, with what, and what is answered.
"use strict";

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function route(path, method, operation) {
  const box = element("section");
  box.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", operation.summary ?? ""), element("p", operation.description ?? ""));
  for (const one of operation.parameters ?? []) {
    box.append(element("p", `${one.in} ${one.name}${one.required ? " (required)" : ""}: ${one.description ?? one.schema?.type ?? ""}`));
  }
  const taken = Object.keys(operation.requestBody?.content ?? {});
  if (taken.length) box.append(element("p", `Body: ${taken.join(", ")}`));
  const table = element("table");
  for (const [status, answer] of Object.entries(operation.responses)) {
    const row = element("tr");
    row.append(element("th", status, { scope: "row" }), element("td", answer.description), element("td", Object.keys(answer.content ?? {}).join(", ")));
    table.append(row);
  }
  box.append(table);
  for (const content of Object.values(operation.responses["200"]?.content ?? {})) {
    if (content.example) box.append(example(content.example));
  }
  return box;
}

function example(value) {
  const details = element("details");
  details.append(element("summary", "Example of an answer"), element("pre", JSON.stringify(value, null, 2)));
  return details;
}

async function draw() {
  const answer = await fetch("/openapi.json");
  const routes = document.getElementById("routes");
  if (!answer.ok) {
    routes.append(element("p", `The description needs an API key (${answer.status}): curl -H "Authorization: Bearer KEY" …/openapi.json`));
    return;
  }
  const described = await answer.json();
  document.getElementById("about").textContent = described.info.description.replaceAll("*", "");
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(methods)) routes.append(route(path, method, operation));
  }
}

draw();
