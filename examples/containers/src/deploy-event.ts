import { compose, type ComposeProject } from '@platform/stack/compose'

/** What became of a release of a service. */
export interface DeployEvent {
  readonly service: string
  /** A tag, or the image's own number. */
  readonly version: string
  readonly outcome: 'success' | 'rolled-back' | 'failure'
  readonly tookMs: number
}

/** As a line of the store's logs, in ECS. */
export function deployLine({ service, version, outcome, tookMs }: DeployEvent, at: Date = new Date()): string {
  return JSON.stringify({
    '@timestamp': at.toISOString(),
    'log.level': outcome === 'success' ? 'info' : 'error',
    message: `deploy of ${service} ${version}: ${outcome}`,
    'ecs.version': '8.17.0',
    'service.name': 'deploy',
    data: { service, version, outcome, seconds: Math.round(tookMs / 1000) },
  })
}

/**
 * Tells whoever watches the store: a line among its logs, and a metric that the dashboard shows as an annotation. What cannot be told changes nothing
 * about the deploy.
 */
export async function recordDeploy(project: ComposeProject, event: DeployEvent): Promise<void> {
  const { service, version, outcome } = event
  // The container whose metrics node-exporter reads.
  await compose(project, 'exec', '-T', 'backup', 'backup', 'deploy', service, version, outcome, deployLine(event)).catch(() => {})
}

/** Runs a release of a service and tells of it, whatever becomes of it. */
export async function recorded(
  project: ComposeProject,
  { service, version }: Pick<DeployEvent, 'service' | 'version'>,
  work: () => Promise<void>,
  outcomeOf: (error: unknown) => DeployEvent['outcome'],
): Promise<void> {
  const startedAt = performance.now()
  const tell = (outcome: DeployEvent['outcome']) =>
    recordDeploy(project, { service, version, outcome, tookMs: performance.now() - startedAt })
  try {
    await work()
  } catch (error) {
    await tell(outcomeOf(error))
    throw error
  }
  await tell('success')
}
