//! The report as one page that loads nothing, and runs nothing.

use super::escaped;
use super::sections::{Section, Table};
use crate::rehearse::model::{Report, Verdict};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#1c2733}\
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #d5dde5}\
table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;\
border-bottom:1px solid #e6ebf0;overflow-wrap:anywhere}th{background:#f3f6f9}\
.verdict{display:inline-block;padding:.1rem .7rem;border-radius:1rem;color:#fff}\
.pass{background:#1a7f4b}.exceptions{background:#96690a}.fail{background:#b3261e}.void{background:#5b6774}\
svg{width:100%;height:auto}@media print{h2{break-after:avoid}tr{break-inside:avoid}}";

pub(super) fn page(report: &Report, sections: &[Section], drawing: &str) -> String {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let scenario = escaped(&report.plan.scenario.to_string());
    let class = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::PassWithExceptions => "exceptions",
        Verdict::Fail => "fail",
        Verdict::Void => "void",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Rehearsal of {scenario}: {verdict}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>Rehearsal of {scenario} \
         <span class=\"verdict {class}\">{verdict}</span></h1>\n{drawing}",
        verdict = report.verdict,
    );
    for Section { title, lines, table } in sections {
        page += &format!("<h2>{}</h2>\n", escaped(title));
        for line in lines {
            page += &format!("<p>{}</p>\n", escaped(line));
        }
        if let Some(Table { header, rows }) = table {
            let titles: String =
                header.iter().map(|title| format!("<th scope=\"col\">{}</th>", escaped(title))).collect();
            page += &format!("<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n");
            for row in rows {
                let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
                page += &format!("<tr>{cells}</tr>\n");
            }
            page += "</tbody>\n</table>\n";
        }
    }
    page + "</body>\n</html>\n"
}
