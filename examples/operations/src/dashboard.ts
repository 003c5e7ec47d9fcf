import { AnnotationQueryBuilder, DashboardBuilder, QueryVariableBuilder, RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'
import { series } from '@platform/metrics'
import { foreign } from './exporters.ts'
import { pattern } from './logs.ts'
import { logPanels, logSource, traceLink } from './log-panels.ts'
import { type Panel, rows } from './panels.ts'

const source = { type: 'prometheus', uid: 'prometheus' }
const width = { stat: 4, timeseries: 8 } as const
const height = { stat: 4, timeseries: 8 } as const

/** What was deployed in the last two minutes: by `rollout`, which says what became of it; elsewhere by the version that instances say they are of. */
export const deploysExpr: string = [
  `${foreign('film_store_deploy_timestamp_seconds')} > time() - 120`,
  `count by (job, service_version) (target_info{service_version!=""}) unless count by (job, service_version) (target_info offset 2m)`,
].join(' or ')

/** An instance that came up within the last minute: a deploy, or a restart. */
export const startsExpr: string = `count by (job) (${series('process.uptime')} < 60)`

function panel({ title, kind, unit, queries }: Panel): StatBuilder | TimeseriesBuilder {
  const builder = kind === 'stat' ? new StatBuilder() : new TimeseriesBuilder()
  for (const { expr, legend } of queries) {
    const query = new DataqueryBuilder().expr(expr)
    builder.withTarget(legend === undefined ? query : query.legendFormat(legend))
  }
  return builder.title(title).unit(unit).datasource(source).span(width[kind]).height(height[kind])
}

/** The one dashboard, as Grafana's provisioning reads it. */
export function dashboard(): object {
  const builder = new DashboardBuilder('Film store')
    .uid('film-store')
    .tags(['film-store'])
    .refresh('30s')
    .time({ from: 'now-1h', to: 'now' })
    .timezone('browser')
    .readonly()
    .withVariable(
      new QueryVariableBuilder('job')
        .label('Service')
        .datasource(source)
        .query('label_values(target_info, job)')
        .multi(true)
        .includeAll(true)
        .allValue('.+'),
    )
    .annotation(new AnnotationQueryBuilder().name('Deploys').datasource(source).enable(true).iconColor('purple').expr(deploysExpr))
    .annotation(new AnnotationQueryBuilder().name('Starts').datasource(source).enable(true).iconColor('blue').expr(startsExpr))
  for (const { title, panels } of rows) {
    builder.withRow(new RowBuilder(title))
    for (const each of panels) builder.withPanel(panel(each))
  }
  builder.withRow(new RowBuilder('Logs and errors (with --logs)'))
  for (const each of logPanels) builder.withPanel(each())
  return builder.build()
}

/** Where Grafana finds the dashboard and its data. */
export const grafanaDatasources: object = {
  apiVersion: 1,
  datasources: [
    {
      name: 'Prometheus',
      uid: source.uid,
      type: source.type,
      access: 'proxy',
      url: 'http://prometheus.obs:9090',
      isDefault: true,
      editable: false,
      // A dot on a duration is a trace.
      jsonData: { exemplarTraceIdDestinations: [{ name: 'trace_id', url: traceLink }] },
    },
    {
      name: 'Elasticsearch',
      uid: logSource.uid,
      type: logSource.type,
      access: 'proxy',
      url: 'http://elasticsearch:9200',
      editable: false,
      basicAuth: true,
      basicAuthUser: 'film-store-grafana',
      // Of the environment that compose.logs.yml gives; empty without it.
      secureJsonData: { basicAuthPassword: '$GRAFANA_ELASTIC_PASSWORD' },
      jsonData: { index: pattern('logs'), timeField: '@timestamp', logMessageField: 'message', logLevelField: 'log.level' },
    },
  ],
}
export const grafanaProviders: object = {
  apiVersion: 1,
  providers: [{ name: 'film-store', type: 'file', disableDeletion: true, options: { path: '/etc/grafana/dashboards' } }],
}
