// The section of CHANGELOG.md that a release comes with.

/**
 * The text below `## VERSION` (a date may follow) or, before it has its number, below `## Unreleased`. Throws where
 * there is neither.
 */
export function changelogSection(changelog: string, version: string): string {
  const sections = changelog.split(/^## /m).slice(1)
  const titled = (title: string) => sections.find((text) => text.split(/\s/, 1)[0] === title)
  const found = titled(version) ?? titled('Unreleased')
  if (found === undefined) throw new Error(`CHANGELOG.md has no section "## ${version}" and no "## Unreleased"`)
  return `# registry-trust ${version}\n\n${found.slice(found.indexOf('\n')).trim()}\n`
}
