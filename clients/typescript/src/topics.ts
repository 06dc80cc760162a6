/** Topic names as the public clients write them: `table/<name>/<project>`, `<path>/<project>`. */

/** Return the full name of a topic. A name without a slash is a table. */
export function fullTopic(topic: string, projectId: string): string {
  const path = topic.includes("/") ? topic : `table/${topic}`;
  return !projectId || path.endsWith(`/${projectId}`) ? path : `${path}/${projectId}`;
}

/** Whether row changes of a table arrive on this full topic. */
export function isTable(topic: string): boolean {
  return topic.startsWith("table/") || topic.startsWith("table:");
}
