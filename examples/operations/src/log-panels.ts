import {
  CountBuilder,
  DataqueryBuilder,
  LogsBuilder,
  MaxBuilder,
  type MetricAggregation,
  type MetricAggregationType,
  MinBuilder,
  TermsBuilder,
  TermsOrder,
  TopMetricsBuilder,
} from '@grafana/grafana-foundation-sdk/elasticsearch'
import { PanelBuilder as LogsPanelBuilder } from '@grafana/grafana-foundation-sdk/logs'
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table'

/** Filled by `--logs`; without it its panels say that nobody answers. */
export const logSource = { type: 'elasticsearch', uid: 'elasticsearch' }
const time = '@timestamp'
/** Asked of the lines by name: each is in the table that the template is made from. */
export const askedFields = {
  group: 'error.id',
  shown: ['service.name', 'service.version', 'error.type', 'error.code', 'trace.id'],
  errors: 'log.level:(error OR fatal)',
} as const
const jaeger = 'http://127.0.0.1:16686/trace/'
/** The value of a cell, or of an exemplar, is the trace. */
export const traceLink: string = `${jaeger}\${__value.raw}`

/** The SDK's builders leave the kind of a metric open. */
function metric(type: MetricAggregationType, builder: { build(): object }): { build(): MetricAggregation } {
  return { build: () => ({ ...builder.build(), type }) as MetricAggregation }
}

/** Errors by what they have in common: how often, first and last seen, and of the last one who said it, its release, what it was, and its trace. */
function errors(): TableBuilder {
  const query = new DataqueryBuilder()
    .query(askedFields.errors)
    .timeField(time)
    .bucketAggs([
      new TermsBuilder()
        .id('group')
        .field(askedFields.group)
        .settings({ size: '50', order: TermsOrder.Desc, orderBy: '_count', min_doc_count: '1' }),
    ])
    .metrics([
      metric('count', new CountBuilder().id('count')),
      metric('min', new MinBuilder().id('first').field(time)),
      metric('max', new MaxBuilder().id('last').field(time)),
      metric(
        'top_metrics',
        new TopMetricsBuilder().id('example').settings({ metrics: [...askedFields.shown], orderBy: time, order: 'desc' }),
      ),
    ])
  return new TableBuilder()
    .title('Errors, grouped')
    .datasource(logSource)
    .withTarget(query)
    .overrideByRegexp('/^(Min|Max) /', [{ id: 'unit', value: 'dateTimeAsIso' }])
    .overrideByRegexp('/trace\\.id/', [{ id: 'links', value: [{ title: 'Trace', url: traceLink, targetBlank: true }] }])
    .span(24)
    .height(10)
}

function lines(): LogsPanelBuilder {
  const query = new DataqueryBuilder()
    .query('')
    .timeField(time)
    .metrics([metric('logs', new LogsBuilder().id('lines').settings({ limit: '200' }))])
    .bucketAggs([])
  return new LogsPanelBuilder()
    .title('Lines')
    .datasource(logSource)
    .withTarget(query)
    .showTime(true)
    .wrapLogMessage(true)
    .span(24)
    .height(10)
}

export const logPanels: readonly (() => TableBuilder | LogsPanelBuilder)[] = [errors, lines]
