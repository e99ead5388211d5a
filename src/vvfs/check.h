/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gathering what a check of the metadata finds, mounted or not. */
#ifndef VV_CHECK_H
#define VV_CHECK_H

#include "json.h"
#include "meta.h"

#define VV_CHECK_ERRORS_MAX 1000u

typedef struct {
    JsonArray *errors; /* owned */
    uint64_t count, repaired;
} VvCheckReport;

void vv_check_report_init(VvCheckReport *report);
void vv_check_report_clear(VvCheckReport *report);
void vv_check_report_cb(void *report, const VvCheckError *error); /* a VvCheckFunc */
/* {ok, errors, truncated?}; what was repaired is not wrong any more. Clears @report. */
JsonObject *vv_check_report_json(VvCheckReport *report);

#endif
